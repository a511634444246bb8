# What a sandbox tries with paths: NAME ERRNO, one a line. python3 - prepare|deny|allow|root
import ctypes, os, shutil, socket, stat, subprocess, sys

# Of more directories and bytes than a rule can speak of.
DEEP = "/".join(["x" * 255] * 6 + ["y"] * 100)
libc = ctypes.CDLL(None, use_errno=True)


def attempt(name, function, *arguments, **named):
    try:
        function(*arguments, **named)
        print(name, 0)
    except OSError as error:
        print(name, error.errno)


def opened(path, flags=os.O_RDONLY, **named):
    os.close(os.open(path, flags | os.O_CLOEXEC, 0o600, **named))


def run(*words):
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def there_and_back(one, other):
    os.rename(one, other)
    os.rename(other, one)


def rename_directory():
    """In memory: not every overlay moves directories."""
    os.makedirs("/dev/shm/free", exist_ok=True)
    there_and_back("/dev/shm/free", "/dev/shm/freed")


def exchange(one, other):
    if libc.syscall(316, -100, one.encode(), -100, other.encode(), 2):
        raise OSError(ctypes.get_errno(), "renameat2")


def by_descriptor(path):
    handle = os.open(path, os.O_PATH)
    try:
        opened(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def below_descriptor(directory, name):
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        opened(name, dir_fd=handle)
    finally:
        os.close(handle)


def memory_program():
    """A copy of true that has no path; ends as itself."""
    handle = os.memfd_create("true", os.MFD_CLOEXEC)
    with open("/usr/bin/true", "rb") as source:
        os.write(handle, source.read())
    child = os.fork()
    if child == 0:
        try:
            os.execve(handle, ["true"], {})
        except OSError as error:
            os._exit(error.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(handle)
    if code:
        raise OSError(code, "execve")


def write_memory():
    handle = os.memfd_create("memory", os.MFD_CLOEXEC)
    opened(f"/proc/self/fd/{handle}", os.O_RDWR)
    os.close(handle)


def bind(path):
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)


def fresh(path):
    """Nothing is there."""
    try:
        os.unlink(path)
    except OSError:
        pass
    return path


def prepare():
    for directory in "vault", "kept", "kept/sub", "free":
        os.mkdir(f"/tmp/{directory}")
    for directory in "vault", "free":
        os.makedirs(f"/tmp/{directory}/{DEEP}")
        with open(f"/tmp/{directory}/{DEEP}/in", "w") as file:
            file.write("deep")
    for name in "secret", "vault/in", "plain", "other", "fixed", "kept/old", "free/old":
        with open(f"/tmp/{name}", "w") as file:
            file.write(name)
    for name in "kept/prog", "kept/sh", "free/prog", "free/other":
        shutil.copy("/usr/bin/dash" if name == "kept/sh" else "/usr/bin/true", f"/tmp/{name}")
    for name, interpreter in ("kept/script", "/bin/sh"), ("free/script", "/bin/sh"), ("free/kept-script", "/tmp/kept/sh"):
        with open(f"/tmp/{name}", "w") as file:
            file.write(f"#!{interpreter}\nexit 0\n")
        os.chmod(f"/tmp/{name}", 0o755)
    os.symlink("/tmp/kept/prog", "/tmp/free/to-kept")


def deny():
    attempt("read_secret", opened, "/tmp/secret")
    attempt("read_plain", opened, "/tmp/plain")
    attempt("read_vault", opened, "/tmp/vault/in")
    attempt("read_deep_vault", opened, f"/tmp/vault/{DEEP}/in")
    attempt("read_deep_free", opened, f"/tmp/free/{DEEP}/in")
    attempt("list_vault", os.listdir, "/tmp/vault")
    attempt("list_above", os.listdir, "/tmp")
    attempt("stat_secret", os.stat, "/tmp/secret")
    attempt("symlink_to_secret", os.symlink, "/tmp/secret", fresh("/tmp/free/symlink"))
    attempt("read_by_symlink", opened, "/tmp/free/symlink")
    attempt("read_by_descriptor", by_descriptor, "/tmp/secret")
    attempt("read_below_descriptor", below_descriptor, "/tmp/vault", "in")
    attempt("write_vault", opened, "/tmp/vault/new", os.O_WRONLY | os.O_CREAT)
    attempt("link_secret", os.link, "/tmp/secret", "/tmp/free/linked")
    attempt("link_plain", os.link, "/tmp/plain", fresh("/tmp/free/linked"))
    attempt("rename_secret", os.rename, "/tmp/secret", "/tmp/free/renamed")
    attempt("rename_plain", there_and_back, "/tmp/plain", "/tmp/free/renamed")
    attempt("rename_vault", os.rename, "/tmp/vault", "/tmp/free/vault")
    attempt("rename_above", os.rename, "/tmp", "/tmp-renamed")
    attempt("rename_free", rename_directory)
    attempt("exchange_secret", exchange, "/tmp/plain", "/tmp/secret")
    attempt("exchange_plain", exchange, "/tmp/plain", "/tmp/other")

    attempt("write_fixed", opened, "/tmp/fixed", os.O_WRONLY)
    attempt("read_fixed", opened, "/tmp/fixed")
    attempt("write_plain", opened, "/tmp/plain", os.O_RDWR)
    attempt("empty_fixed", opened, "/tmp/fixed", os.O_RDONLY | os.O_TRUNC)
    attempt("empty_plain", opened, "/tmp/plain", os.O_RDONLY | os.O_TRUNC)
    attempt("truncate_fixed", os.truncate, "/tmp/fixed", 1)
    attempt("truncate_plain", os.truncate, "/tmp/plain", 1)
    attempt("create_kept", opened, "/tmp/kept/new", os.O_WRONLY | os.O_CREAT)
    attempt("create_free", opened, "/tmp/free/new", os.O_WRONLY | os.O_CREAT)
    attempt("unlink_kept", os.unlink, "/tmp/kept/old")
    attempt("unlink_free", os.unlink, "/tmp/free/new")
    attempt("mkdir_kept", os.mkdir, "/tmp/kept/new")
    attempt("mkdir_free", os.mkdir, "/tmp/free/directory")
    attempt("rmdir_kept", os.rmdir, "/tmp/kept/sub")
    attempt("rmdir_free", os.rmdir, "/tmp/free/directory")
    attempt("rename_kept", os.rename, "/tmp/kept/old", "/tmp/free/renamed")
    attempt("rename_into_kept", os.rename, "/tmp/free/old", "/tmp/kept/renamed")
    attempt("link_kept", os.link, "/tmp/plain", "/tmp/kept/linked")
    attempt("link_fixed", os.link, "/tmp/fixed", "/tmp/free/fixed")
    attempt("symlink_kept", os.symlink, "/tmp/plain", "/tmp/kept/symlink")
    attempt("symlink_free", os.symlink, "/tmp/plain", fresh("/tmp/free/symlink"))
    attempt("chmod_fixed", os.chmod, "/tmp/fixed", 0o600)
    attempt("chmod_plain", os.chmod, "/tmp/plain", 0o600)
    attempt("chown_fixed", os.chown, "/tmp/fixed", 0, 0)
    attempt("chown_plain", os.chown, "/tmp/plain", 0, 0)
    attempt("mknod_kept", os.mknod, "/tmp/kept/fifo", stat.S_IFIFO | 0o600)
    attempt("mknod_free", os.mknod, fresh("/tmp/free/fifo"), stat.S_IFIFO | 0o600)
    attempt("bind_kept", bind, "/tmp/kept/door")
    attempt("bind_free", bind, fresh("/tmp/free/door"))

    attempt("exec_kept", run, "/tmp/kept/prog")
    attempt("exec_kept_by_symlink", run, "/tmp/free/to-kept")
    attempt("exec_free", run, "/tmp/free/prog")
    attempt("exec_script_kept", run, "/tmp/kept/script")
    attempt("exec_script_free", run, "/tmp/free/script")
    attempt("exec_interpreter_kept", run, "/tmp/free/kept-script")
    attempt("exec_memory", memory_program)


def allow():
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    attempt("exec_usr", run, "/usr/bin/true")
    attempt("exec_yes", run, "/usr/bin/yes", "--version")
    attempt("exec_prog", run, "/tmp/free/prog")
    attempt("exec_other", run, "/tmp/free/other")
    attempt("exec_loader", run, loader, "/tmp/free/other")
    attempt("exec_memory", memory_program)
    attempt("read_free", opened, "/tmp/free/other")
    attempt("read_deep_free", opened, f"/tmp/free/{DEEP}/in")
    attempt("read_deep_vault", opened, f"/tmp/vault/{DEEP}/in")
    attempt("list_free", os.listdir, "/tmp/free")
    attempt("read_plain", opened, "/tmp/plain")
    attempt("list_tmp", os.listdir, "/tmp")
    attempt("read_proc", opened, "/proc/self/status")
    attempt("write_free", opened, "/tmp/free/written", os.O_WRONLY | os.O_CREAT)
    attempt("write_plain", opened, "/tmp/plain", os.O_WRONLY)
    attempt("write_null", opened, "/dev/null", os.O_WRONLY)
    attempt("write_memory", write_memory)
    attempt("rename_free_itself", there_and_back, "/tmp/free", "/tmp/freed")


def root():
    attempt("change_root", os.chroot, "/etc")
    attempt("read_passwd", opened, "/passwd")
    attempt("read_group", opened, "/group")


if sys.argv[1] == "prepare":
    attempt("prepare", prepare)
else:
    {"deny": deny, "allow": allow, "root": root}[sys.argv[1]]()
