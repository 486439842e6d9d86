# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run inside new namespaces, before anything of a test: leaves it nothing of this machine.

Called by the system's own Python, on its own (nothing of Testyard is importable here):

    enter.py prepare WORK TREE SOURCES -- COMMAND…    as root: puts the three where the account may
                                                      reach them (/mnt/work, …), then becomes COMMAND
    enter.py sandbox WORK TREE SOURCES -- COMMAND…    as root of the new user namespace: makes a root
                                                      file system of /usr (read-only) and the run's
                                                      own folder, waits for one line on standard
                                                      input (the network is there), becomes COMMAND
    enter.py chroot …                                 the same, with the tar file TREE unpacked to
                                                      /work/root as something to chroot to
    enter.py kvm …                                    the same as sandbox, with /dev/kvm
    enter.py client …                                 the same as sandbox, in this machine's network and
                                                      without /sys, which belongs to a network

That line is a JSON object: `files`, the texts of files in the run's /etc; `own_addresses`, those of
this machine, which the run must not reach, null if it has no network of its own; and `processes`, how
many it may have.

autopkgtest's unshare runner keeps its testbed by chroot, which root in a user namespace can leave.
What it finds outside then is only this: pivot_root, and the old root is gone.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
from typing import Any

sys.path.insert(0, __file__.rsplit("/", 3)[0])  # `python3 -I` does not look beside the script

from worker.testbed import fence

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_CAPBSET_DROP = 24
# CAP_NET_ADMIN and CAP_NET_RAW: pasta hands on raw packets to this machine's loopback, which only the
# namespace's own `lo` hides; whoever became root out here must not get round that
NETWORK_CAPABILITIES = (12, 13)
# pivot_root has no wrapper in the C library; its number differs by architecture (linux: unistd.h)
PIVOT_ROOT = {"x86_64": 155, "i686": 217, "s390x": 217, "ppc64le": 203, "armv7l": 218, "armv8l": 218}.get(
    os.uname().machine, 41
)
LIBC = ctypes.CDLL(None, use_errno=True)

STAGE = "/mnt"  # where `prepare` puts things; exists on every Debian
NEW_ROOT = "/tmp"  # a mount point in our own namespace
ROOT, USER = "/work/root", "testbed"
FOLDERS = (
    "usr",
    "etc",
    "proc",
    "sys",
    "dev",
    "tmp",
    "var",
    "var/tmp",
    "var/lib",
    "work",
    "root",
    "run",
    "old",
)
ETC_FILES = ("ld.so.cache", "localtime", "nsswitch.conf", "alternatives")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "console")
WRAPPERS = "/etc/testbed"
OWN_PROCESSES = 200  # autopkgtest needs a dozen
ENVIRONMENT = {
    "PATH": f"{WRAPPERS}:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # the run's own
}
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    # the runner asks for sub-ids of root: all that the outer namespace has
    "subuid": "root:1:65535\n",
    "subgid": "root:1:65535\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "hostname": "testbed\n",
}


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    check(
        LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()),
        f"mount {target}",
    )


def bind(source: str, target: str, *, recursive: bool = True) -> None:
    """A folder or file at another place; the place is made."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        with open(target, "a"):
            pass
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def read_only(target: str) -> None:
    mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def prepare(paths: "list[str]") -> "list[str]":
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", STAGE, "tmpfs", options="mode=755,size=1m")
    staged = [
        f"{STAGE}/{name}" if path else ""
        for name, path in zip(("work", "tree", "sources"), paths, strict=True)
    ]
    for path, place in zip(paths, staged, strict=True):
        if path:
            bind(path, place, recursive=False)
    return staged


def sandbox(stage: str, work: str, tree: str, sources: str) -> None:
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    # opened before: they may be below what the new root covers; the descriptors end with this program
    work, tree, sources = (
        f"/proc/self/fd/{os.open(path, os.O_PATH)}" if path else "" for path in (work, tree, sources)
    )
    mount("tmpfs", NEW_ROOT, "tmpfs", options="mode=755,size=16m")
    for folder in FOLDERS:
        os.mkdir(f"{NEW_ROOT}/{folder}")
    bind_system()
    bind(work, f"{NEW_ROOT}/work")
    bind(f"{NEW_ROOT}/work/tmp", f"{NEW_ROOT}/tmp")
    bind(f"{NEW_ROOT}/work/tmp", f"{NEW_ROOT}/var/tmp")
    for source, name in ((tree, "tree"), (sources, "sources")):
        if source:
            bind(source, f"{NEW_ROOT}/{name}")
            read_only(f"{NEW_ROOT}/{name}")
    kernel_file_systems(NEW_ROOT, (*DEVICES, *(("kvm",) if stage == "kvm" else ())))
    if stage != "client":
        mount("sysfs", f"{NEW_ROOT}/sys", "sysfs")
    os.chdir(NEW_ROOT)
    check(LIBC.syscall(PIVOT_ROOT, b".", b"old"), "pivot_root")
    os.chdir("/")
    check(LIBC.umount2(b"/old", MNT_DETACH), "umount /old")
    os.rmdir("/old")


def close_up(order: "dict[str, Any]") -> None:
    """What can only be done once the network is there; afterwards nothing out here can be changed."""
    if order["own_addresses"] is not None:
        fence.keep_at_home(order["own_addresses"])
    for name, text in order["files"].items():
        with open(f"/etc/{name}", "w") as file:
            file.write(text)
    limit_processes(order["processes"])
    # nothing out here can be changed by a test that left its chroot, e.g. /etc/ld.so.preload
    read_only("/")
    for capability in NETWORK_CAPABILITIES:
        check(LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl")
    fence.forbid_vsock()


def limit_processes(most: int) -> None:
    """A limit for what autopkgtest runs in its testbed, and some more for autopkgtest, which has to end that.

    autopkgtest calls `unshare` for each command in the testbed. The kernel counts all that is in the user
    namespaces so made for the user who made them, in here: so the limit is one run's, although all runs have
    the same account outside. Root in here cannot lift it.
    """
    os.mkdir(WRAPPERS)
    script = f'#!/bin/sh\nexec prlimit --nproc={most} /usr/bin/unshare "$@"\n'
    with os.fdopen(os.open(f"{WRAPPERS}/unshare", os.O_CREAT | os.O_WRONLY, 0o755), "w") as file:
        file.write(script)
    resource.setrlimit(resource.RLIMIT_NPROC, (most + OWN_PROCESSES, most + OWN_PROCESSES))


def bind_system() -> None:
    bind("/usr", f"{NEW_ROOT}/usr")
    read_only(f"{NEW_ROOT}/usr")
    mount("tmpfs", f"{NEW_ROOT}/usr/local", "tmpfs", MS_RDONLY, "size=4k")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{NEW_ROOT}/{name}")
    for name in ETC_FILES:
        if os.path.exists(f"/etc/{name}"):
            bind(f"/etc/{name}", f"{NEW_ROOT}/etc/{name}")
    for name, text in ETC.items():
        with open(f"{NEW_ROOT}/etc/{name}", "w") as file:
            file.write(text)


def kernel_file_systems(root: str, devices: "tuple[str, ...]" = DEVICES) -> None:
    """/proc and /dev below a root whose folders for them exist."""
    mount("proc", f"{root}/proc", "proc")
    for name in devices:
        if os.path.exists(f"/dev/{name}"):
            bind(f"/dev/{name}", f"{root}/dev/{name}")
    os.makedirs(f"{root}/dev/pts", exist_ok=True)
    mount("devpts", f"{root}/dev/pts", "devpts", options="newinstance,ptmxmode=666")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{root}/dev/{name}")
    os.makedirs(f"{root}/dev/shm", exist_ok=True)
    mount("tmpfs", f"{root}/dev/shm", "tmpfs")


def unpack() -> None:
    """The tree as a root of its own at `ROOT`, with a user for tests that must not be root."""
    os.mkdir(ROOT)
    # its device nodes cannot be made in a user namespace
    tar = ["tar", "--extract", "--file=/tree", f"--directory={ROOT}", "--exclude=./dev"]
    for argv in (tar, ["useradd", "--create-home", f"--root={ROOT}", USER]):
        if subprocess.run(argv, check=False).returncode != 0:
            sys.exit("the root tree could not be unpacked")
    for folder in ("dev", "proc", "sys"):
        os.makedirs(f"{ROOT}/{folder}", exist_ok=True)
    kernel_file_systems(ROOT)
    bind("/sys", f"{ROOT}/sys")
    with open("/etc/resolv.conf") as ours, open(f"{ROOT}/etc/resolv.conf", "w") as theirs:
        theirs.write(ours.read())


def main() -> None:
    stage, paths, command = sys.argv[1], sys.argv[2:5], sys.argv[6:]
    if stage == "prepare":
        staged = prepare(paths)
        if "WORK" in command:
            place = command.index("WORK")
            command[place : place + 3] = staged
    else:
        sandbox(stage, *paths)
        os.write(1, b"ready\n")
        line = sys.stdin.readline()
        if not line:
            sys.exit("the worker is gone")
        close_up(json.loads(line))
        os.environ.clear()
        os.environ.update(ENVIRONMENT)
        check(LIBC.sethostname(b"testbed", 7), "sethostname")
        if stage == "chroot":
            unpack()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
