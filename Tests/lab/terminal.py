#!/usr/bin/env python3
"""Plays a person at a terminal to `corral`, and prints one line a check: ok or FAIL, what, and what was seen.

usage: terminal.py CORRAL      CORRAL_HOST names the daemon
"""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

CORRAL = sys.argv[1]
NAME = f"tty{os.getpid()}"


def check(name, holds, detail=""):
    print(("ok" if holds else "FAIL") + f"\t{name}\t{detail!r}", flush=True)


class Person:
    """A program on a terminal of its own."""

    def __init__(self, *arguments, rows=33, columns=101, term="vt220"):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = term
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(CORRAL, [CORRAL, *arguments])
        self.seen = b""
        self.at = 0

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, wanted, seconds=8):
        """Until it has been printed, behind what was expected before."""
        end = time.monotonic() + seconds
        wanted = wanted.encode()
        while time.monotonic() < end:
            place = self.seen.find(wanted, self.at)
            if place >= 0:
                self.at = place + len(wanted)
                return True
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    piece = os.read(self.master, 65536)
                except OSError:
                    piece = b""
                if not piece:
                    break
                self.seen += piece
        return self.seen.find(wanted, self.at) >= 0

    def settings(self):
        return termios.tcgetattr(self.master)

    def end(self, seconds=8):
        """Its exit code; None when it had to be killed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


def is_raw(settings):
    return not settings[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def shell():
    person = Person("run", "-it", "--name", NAME, "--", "sh")
    before = None
    check("a prompt", person.expect("# "), person.seen)
    check("the caller's terminal is raw meanwhile", is_raw(person.settings()))
    person.type("stty size; echo T$TERM; tty\r")
    check("it has the caller's size", person.expect("33 101"), person.seen)
    check("TERM is passed", person.expect("Tvt220"), person.seen)
    check("it is one of the sandbox's own", person.expect("/dev/pts/0"), person.seen)
    person.resize(50, 140)
    time.sleep(0.3)
    person.type("stty size\r")
    check("a new size arrives", person.expect("50 140"), person.seen)
    person.type("sleep 100\r")
    time.sleep(0.5)
    person.type("\x03")
    person.type("echo after=$?\r")
    check("^C interrupts the foreground", person.expect("after=130"), person.seen)
    person.type("sleep 100\r")
    time.sleep(0.5)
    person.type("\x1a")
    check("^Z stops it", person.expect("Stopped"), person.seen)
    person.type("fg\r")
    time.sleep(0.5)
    person.type("\x1c")
    check("fg takes it back, ^\\ quits it", person.expect("Quit"), person.seen)
    person.type("exec 3</dev/tty && echo opened\r")
    check("/dev/tty is it", person.expect("\r\nopened"), person.seen)
    person.type("printf '\\033[31mred\\033[0m\\n'; exit 3\r")
    check("its output is passed byte for byte", person.expect("\x1b[31mred\x1b[0m"), person.seen)
    check("its exit code", person.end() == 3, person.seen)


def restored(name, arguments, act, code=None):
    """The caller's terminal is as it was, whatever way the client ends."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    client = subprocess.Popen([CORRAL, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    deadline = time.monotonic() + 8
    while not is_raw(termios.tcgetattr(slave)) and time.monotonic() < deadline:
        time.sleep(0.02)
    was_raw = is_raw(termios.tcgetattr(slave))
    time.sleep(0.2)
    act(client, master)
    try:
        ended = client.wait(8)
    except subprocess.TimeoutExpired:
        client.kill()
        ended = None
    check(f"the terminal is put back: {name}", was_raw and termios.tcgetattr(slave) == before and ended is not None,
          (was_raw, ended))
    if code is not None:
        check(f"exit code: {name}", ended == code, ended)
    os.close(master)
    os.close(slave)


def ps():
    return subprocess.run([CORRAL, "ps", "-q", "--filter", f"name={NAME}"], capture_output=True, text=True).stdout.strip()


def leaving():
    person = Person("run", "-it", "--rm", "false", "--name", NAME, "--", "sh")
    person.expect("# ")
    person.type("echo mark$((40+2))\r")
    person.expect("mark42")
    person.type("\x10\x11")
    check("^P ^Q leaves", person.end() == 0, person.seen)
    check("and the command runs on", ps() != "")
    again = Person("attach", NAME, rows=20, columns=60)
    time.sleep(0.3)
    again.type("echo back$((1+1)); stty size\r")
    check("attach comes back", again.expect("back2"), again.seen)
    check("with the new terminal's size", again.expect("20 60"), again.seen)
    other = subprocess.run([CORRAL, "attach", NAME], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    check("one person types at a time", other.returncode == 125 and "stdin" in other.stderr, other.stderr)
    second = Person("exec", "-it", NAME, "sh")
    second.expect("# ")
    second.type("tty\r")
    check("exec -t has a terminal beside it", second.expect("/dev/pts/1"), second.seen)
    second.type("\x04")
    check("^D ends a shell", second.end() == 0, second.seen)
    again.type("exit 4\r")
    check("the exit code after attach", again.end() == 4, again.seen)
    subprocess.run([CORRAL, "rm", "-f", NAME], capture_output=True)


def without_input():
    done = subprocess.run([CORRAL, "run", "-t", "--", "sh", "-c", "tty; stty size; echo out; echo err >&2"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    check("-t without a terminal here has one inside", done.returncode == 0 and "/dev/pts/0" in done.stdout, done.stdout)
    check("all of its output is one stream", "out" in done.stdout and "err" in done.stdout and done.stderr == "", done.stderr)
    done = subprocess.run([CORRAL, "run", "-it", "--", "cat"], input="line\n", capture_output=True, text=True, timeout=10)
    check("the end of a piped stdin is ^D", done.returncode == 0 and "line" in done.stdout, done.stdout)
    done = subprocess.run([CORRAL, "run", "-t", "--", "seq", "100000"], stdin=subprocess.DEVNULL, capture_output=True)
    check("100,000 lines of a terminal, complete",
          done.stdout.replace(b"\r\n", b"\n") == b"".join(b"%d\n" % i for i in range(1, 100001)), len(done.stdout))


shell()
run = ["run", "-it", "--name", NAME]
restored("the command ends", [*run, "--", "sh", "-c", "sleep 0.6; exit 6"], lambda c, m: None, 6)
restored("TERM", [*run, "--", "sleep", "100"], lambda c, m: c.terminate(), 143)
restored("HUP", [*run, "--", "sleep", "100"], lambda c, m: c.send_signal(signal.SIGHUP), 129)
restored("the sandbox is killed", [*run, "--", "sleep", "100"],
         lambda c, m: subprocess.run([CORRAL, "kill", NAME], capture_output=True), 137)
restored("a timeout", [*run, "--timeout", "1s", "--", "sleep", "100"], lambda c, m: None, 124)
restored("a crash", [*run, "--", "sleep", "100"], lambda c, m: c.send_signal(signal.SIGSEGV))
subprocess.run([CORRAL, "rm", "-f", NAME], capture_output=True)
leaving()
without_input()
print("end")
