"""Tries what a testbed must not allow; run outside, each of these works.

One line for each attempt: `open NAME` if it worked, else `closed NAME`; exit status 1 if any did.
From the environment, lists separated by commas or blanks:
TY_TARGETS   host/port: connections and datagrams, also past the routing table
TY_SECRETS   files and folders
TY_ABSTRACT  the name of a socket without a file
TY_SHARED    the number of a System V shared memory segment
TY_WORD      a word in the command line of a process outside
TY_NAME      a name that the name server must answer (this one is to work inside, too)
"""

import ctypes
import os
import select
import socket
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
BIND_TO_DEVICE = 25
SETTLE = 2.0  # seconds for all connections together
opened = []


def report(name, worked):
    print("open" if worked else "closed", name, flush=True)
    if worked:
        opened.append(name)


def attempt(name, action, *arguments):
    """An action that raises OSError, or gives false, has not worked."""
    try:
        worked = action(*arguments)
    except OSError as error:
        print(f"# {name}: {error}")
        worked = False
    report(name, worked is None or bool(worked))


def words(variable):
    return os.environ.get(variable, "").replace(",", " ").split()


# the network


def interfaces():
    return [name for _, name in socket.if_nameindex() if name != "lo"] or [""]


def address_of(host, port, kind):
    return socket.getaddrinfo(host, int(port), type=kind)[0]


def connections(targets):
    """Each host and port by TCP, as the routing table has it and bound to an interface."""
    waiting = {}
    for host, port in targets:
        for way in ("", *interfaces()[:1]):
            name = f"tcp {host} {port}{' bound' if way else ''}"
            try:
                family, kind, _, _, address = address_of(host, port, socket.SOCK_STREAM)
                made = socket.socket(family, kind)
                made.setblocking(False)
                if way:
                    made.setsockopt(socket.SOL_SOCKET, BIND_TO_DEVICE, way.encode())
                made.connect(address)
            except BlockingIOError:
                waiting[made] = name
            except OSError as error:
                print(f"# {name}: {error}")
                report(name, False)
    deadline = time.monotonic() + SETTLE
    while waiting and time.monotonic() < deadline:
        for made in select.select([], list(waiting), [], 0.1)[1]:
            report(waiting.pop(made), made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)
            made.close()
    for name in waiting.values():
        report(name, False)


def datagrams(targets):
    """Each host and port by UDP: whoever hears one answers with the same."""
    waiting = {}
    for host, port in targets:
        for way in ("", *interfaces()[:1]):
            name = f"udp {host} {port}{' bound' if way else ''}"
            try:
                family, kind, _, _, address = address_of(host, port, socket.SOCK_DGRAM)
                made = socket.socket(family, kind)
                made.setblocking(False)
                if way:
                    made.setsockopt(socket.SOL_SOCKET, BIND_TO_DEVICE, way.encode())
                made.connect(address)  # so that a refusal is heard at once
                made.send(name.encode())
                waiting[made] = name
            except OSError as error:
                print(f"# {name}: {error}")
                report(name, False)
    deadline = time.monotonic() + SETTLE
    while waiting and time.monotonic() < deadline:
        for made in select.select(list(waiting), [], [], 0.1)[0]:
            name = waiting.pop(made)
            try:
                report(name, made.recv(1000) == name.encode())
            except OSError:
                report(name, False)
    for name in waiting.values():
        report(name, False)


def raw_socket(family, kind, protocol):
    socket.socket(family, kind, protocol).close()


def tap_device():
    """The device itself, or one of the same number made here."""
    path = "/dev/net/tun"
    if not os.path.exists(path):
        path = "/tmp/ty-tun"
        os.mknod(path, 0o020666, os.makedev(10, 200))
    os.close(os.open(path, os.O_RDWR))


def write_back(path):
    """Write what stands there: changes nothing where it works."""
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text)


def command_works(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stderr:
        print(f"# {done.stderr.strip().splitlines()[-1]}")
    return done.returncode == 0


def abstract_socket(name):
    with socket.socket(socket.AF_UNIX) as made:
        made.connect("\0" + name)


def new_ring():
    parameters = ctypes.create_string_buffer(120)
    made = LIBC.syscall(425, 1, parameters)
    if made < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    os.close(made)


# processes and namespaces


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != os.readlink("/proc/self")]


def strangers():
    """Processes in another user namespace, or in one that we may not see."""
    found = []
    mine = os.readlink("/proc/self/ns/user")
    for pid in pids():
        try:
            if os.readlink(f"/proc/{pid}/ns/user") != mine:
                found.append(pid)
        except FileNotFoundError:
            continue
        except OSError:
            found.append(pid)
    return found


def any_of(action, items):
    """True if it works with one of them; that there are some is noted."""
    print(f"# {action.__name__}: {len(items)} to try")
    for item in items:
        try:
            if action(item):
                print(f"# it worked with {item}")
                return True
        except OSError:
            continue
    return False


def enter_user(pid):
    return command_works("nsenter", f"--user=/proc/{pid}/ns/user", "--preserve-credentials", "true")


def enter_network(pid):
    return command_works("nsenter", f"--net=/proc/{pid}/ns/net", "true")


def trace(pid):
    if os.getpid() != int(os.readlink("/proc/self")):
        return False  # these numbers are those of another PID namespace: nothing to name it by
    LIBC.ptrace.argtypes = [ctypes.c_long] * 4
    if LIBC.ptrace(16, pid, 0, 0) != 0:  # PTRACE_ATTACH
        return False
    os.waitpid(pid, 0x40000000)  # __WALL
    LIBC.ptrace(17, pid, 0, 0)
    return True


def memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
    return True


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return bool(file.read(1))


def root(pid):
    return bool(os.listdir(f"/proc/{pid}/root/"))


def has_word(pid):
    """autopkgtest's own command line has it too, as an order for us."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        line = file.read()
    return os.environ["TY_WORD"].encode() in line and b"TY_WORD=" not in line


def shared_memory(key):
    if LIBC.shmget(int(key), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "shmget")


# files


def plant(path):
    """A file where the runner's outer part would find it; nothing stays."""
    new = not os.path.exists(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    if new:
        os.unlink(path)


def writable_again():
    """In a mount namespace of our own, so that no mount changes where it works."""
    script = "mount -o remount,bind,rw / && touch /ty && rm /ty"
    return command_works("unshare", "--mount", "sh", "-c", script)


def secret(path):
    """By its own path, or below another process's root."""
    return any(os.path.exists(place + path) for place in ("", *(f"/proc/{pid}/root" for pid in pids())))


def main():
    targets = [target.rsplit("/", 1) for target in words("TY_TARGETS")]
    connections(targets)
    datagrams(targets)
    for name in words("TY_NAME"):
        try:
            print("resolved", name, socket.gethostbyname(name))
        except OSError as error:
            print("not resolved", name, error)
    attempt("packet socket", raw_socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    attempt("packet socket, cooked", raw_socket, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    attempt("raw IPv4 socket", raw_socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    attempt("raw IPv6 socket", raw_socket, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    attempt("socket to the machine below", raw_socket, socket.AF_VSOCK, socket.SOCK_STREAM, 0)
    attempt("ring", new_ring)
    attempt("tap device", tap_device)
    attempt("network setting", write_back, "/proc/sys/net/ipv4/conf/all/route_localnet")
    attempt("interface changed", command_works, "ip", "link", "set", "dev", "lo", "up")
    for name in words("TY_ABSTRACT"):
        attempt("socket without a file", abstract_socket, name)
    for key in words("TY_SHARED"):
        attempt("shared memory", shared_memory, key)
    found = strangers()
    for action in (enter_user, enter_network, trace, memory, environment, root):
        attempt(f"{action.__name__.replace('_', ' ')} of another's process", any_of, action, found)
    for _ in words("TY_WORD"):
        attempt("process outside", any_of, has_word, pids())
    for path in ("/etc/ld.so.preload", "/usr/bin/ty-was-here", "/usr/local/bin/tar", "/root/.profile", "/ty"):
        attempt(f"plant {path}", plant, path)
    attempt("remount /", writable_again)
    for path in words("TY_SECRETS"):
        attempt(f"secret {path}", secret, path)
    return 1 if opened else 0


if __name__ == "__main__":
    sys.exit(main())
