"""The clients of soak.sh.

    soak.py SOCKET PERMITTED REFUSED warm|run SECONDS SANDBOXES CLIENTS

Each client picks one of its operations at random, again and again, against sandboxes that all of them share. An answer is right when
the API names it for that call and for what other clients may have done to the sandbox meanwhile. Prints `OPERATION COUNT P50 P99` in
milliseconds a line, and `wrong COUNT` at the end, with what was wrong before it.
"""

import collections
import http.client
import json
import random
import socket
import sys
import threading
import time

SOCKET, PERMITTED, REFUSED, MODE = sys.argv[1:5]
SECONDS, SANDBOXES, CLIENTS = (int(word) for word in sys.argv[5:8])
# What runs in a sandbox: it asks both servers, and is refused by one. Little else: there are many of it.
AGENT = 'while :; do for a in "$0" "$1"; do (exec 3<>"/dev/tcp/$a/80"); done 2>/dev/null; echo tick; sleep $2; done'


def policy(allowed):
    name, ports = ("open", "[80]") if allowed else ("shut", "[81]")
    return {
        "file": "soak.yaml",
        "yaml": f"apiVersion: corral/v1\nname: {name}\negress:\n  allow:\n    - {{ cidr: {PERMITTED}/32, ports: {ports} }}\n",
    }


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


class Shared:
    def __init__(self):
        self.lock = threading.Lock()
        self.live = []
        self.took = collections.defaultdict(list)
        self.wrong = collections.Counter()
        self.number = 0

    def pick(self):
        with self.lock:
            return random.choice(self.live) if self.live else None

    def add(self, sandbox):
        with self.lock:
            self.live.append(sandbox)

    def take(self):
        with self.lock:
            return self.live.pop(random.randrange(len(self.live))) if self.live else None

    def count(self):
        with self.lock:
            return len(self.live)


class Client:
    def __init__(self, shared, seed):
        self.shared = shared
        self.random = random.Random(seed)
        self.connection = Connection("corral", timeout=60)

    def call(self, name, method, path, expected, body=None, read=None):
        """The status and the answer; None for both when there was none."""
        begun = time.monotonic()
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            data = response.read() if read is None else response.read(read)
            status = response.status
            if read is not None:
                self.connection.close()
        except (OSError, http.client.HTTPException) as error:
            self.note(name, f"no answer: {type(error).__name__} {error}")
            self.connection.close()
            return None, None
        with self.shared.lock:
            self.shared.took[name].append(time.monotonic() - begun)
        if status not in expected:
            self.note(name, f"{status} {data[:160]!r}")
        return status, data

    def note(self, name, what):
        with self.shared.lock:
            self.shared.wrong[f"{name}: {what}"] += 1

    def create(self):
        with self.shared.lock:
            self.shared.number += 1
            number = self.shared.number
        body = {
            "name": f"soak-{number}",
            "command": ["bash", "-c", AGENT, PERMITTED, REFUSED, str(self.random.choice([5, 10, 20]))],
            "detach": True, "autoRemove": True, "policy": policy(True), "limits": {"memory": "64MiB", "pids": 64},
        }
        status, _ = self.call("create", "POST", "/v1/sandboxes", {201}, body)
        if status == 201:
            self.shared.add(body["name"])

    def remove(self):
        sandbox = self.shared.take()
        if sandbox:
            self.call("remove", "DELETE", f"/v1/sandboxes/{sandbox}?force=true", {204, 404})

    def kill(self):
        sandbox = self.shared.take()
        if sandbox:
            # 404, 409: its command had ended before.
            self.call("kill", "POST", f"/v1/sandboxes/{sandbox}/kill", {204, 404, 409}, {"signal": "KILL"})

    def execute(self):
        sandbox = self.shared.pick()
        if sandbox:
            body = {"command": ["sh", "-c", "echo hello; exit 3"], "detach": True}
            # 409: paused; 503: as many as may run at once.
            self.call("exec", "POST", f"/v1/sandboxes/{sandbox}/exec", {201, 404, 409, 503}, body)

    def apply(self):
        sandbox = self.shared.pick()
        if sandbox:
            self.call("apply", "PUT", f"/v1/sandboxes/{sandbox}/policy", {200, 404, 409}, policy(self.random.random() < 0.5))

    def pause(self):
        sandbox = self.shared.pick()
        if sandbox:
            self.call("pause", "POST", f"/v1/sandboxes/{sandbox}/pause", {200, 404, 409})
            self.call("resume", "POST", f"/v1/sandboxes/{sandbox}/resume", {200, 404, 409})

    def inspect(self):
        sandbox = self.shared.pick()
        if sandbox:
            self.call("inspect", "GET", f"/v1/sandboxes/{sandbox}", {200, 404})

    def logs(self):
        sandbox = self.shared.pick()
        if sandbox:
            self.call("logs", "GET", f"/v1/sandboxes/{sandbox}/logs", {200, 404})

    def list(self):
        self.call("list", "GET", "/v1/sandboxes", {200})

    def stats(self):
        self.call("stats", "GET", "/v1/sandboxes/stats", {200})

    def tail(self):
        self.call("tail", "GET", "/v1/events?follow=true", {200}, read=4096)

    def run(self, until):
        while time.monotonic() < until:
            missing = SANDBOXES - self.shared.count()
            if missing > 0 and self.random.random() < 0.7:
                self.create()
                continue
            self.random.choice([
                self.create, self.remove, self.remove, self.kill, self.execute, self.execute, self.apply, self.apply, self.pause,
                self.inspect, self.inspect, self.logs, self.list, self.stats, self.tail,
            ])()


def main():
    shared = Shared()
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=Client(shared, seed).run, args=(until,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, shared.count())
        time.sleep(0.2)
    left = Client(shared, 0)
    while shared.count():
        left.remove()
    # Those too whose creation was not answered, which counts as wrong.
    for sandbox in json.loads(left.call("list", "GET", "/v1/sandboxes", {200})[1]):
        left.call("remove", "DELETE", f"/v1/sandboxes/{sandbox['id']}?force=true", {204, 404})
    for name, took in sorted(shared.took.items()):
        took.sort()
        print(f"{name} {len(took)} {took[len(took) // 2] * 1000:.1f} {took[int(len(took) * 0.99)] * 1000:.1f}")
    print(f"most alive at once {most}")
    for what, count in shared.wrong.most_common(20):
        print(f"  {count} x {what}")
    print(f"wrong {sum(shared.wrong.values())}")


main()
