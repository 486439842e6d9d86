# SPDX-License-Identifier: AGPL-3.0-or-later
"""A machine of its own for tests of a testbed's network: in a network and a mount namespace.

    unshare --net --mount python -m tests.integration.machine FOLDER RESOLV_CONF TESTBED [ADDRESS…]

It has two interfaces with addresses of both kinds; on every address something listens, by TCP and UDP,
and a name server answers on 127.0.0.1 and ::1. Then the intruder tries these addresses and the named
ones, first in a testbed of the named kind, then outside of it. Prints a JSON object:
``inside`` and ``outside`` (what each printed), ``heard_inside`` and ``heard_outside`` (what arrived
meanwhile).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.system import PACKAGES, TREES
from tests.trees import account
from testyard.hosts import QemuHost
from testyard.local.machine import machine_architecture, machine_release
from testyard.settings import Worker
from worker.testbed.base import Command, Testbed, Workspace
from worker.testbed.chroot import chroot_testbed
from worker.testbed.kinds import KeptTestbeds
from worker.testbed.tree import TreeCache
from worker.testbed.unshare import UnshareTestbed

PORT = 7777
#: The first interface's are those that pasta gives to the testbed too.
ADDRESSES = (("up0", "192.0.2.2/24"), ("up0", "2001:db8:1::2/64"))
OTHERS = (("up1", "198.51.100.9/24"), ("up1", "2001:db8:2::9/64"))
LOOPBACKS = ("127.0.0.1", "127.0.0.2", "::1")
NAME, ANSWER = "name.test", "203.0.113.7"


class Machine:
    """What listens, and what it has heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def listen(self, address: str) -> None:
        """TCP and UDP on one address; an answer to a datagram is the same datagram."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        place = socket.getaddrinfo(address, PORT)[0][4]
        stream, datagram = socket.socket(family), socket.socket(family, socket.SOCK_DGRAM)
        for one in (stream, datagram):
            one.bind(place)
        stream.listen(64)
        _thread(lambda: self._accept(stream, address))
        _thread(lambda: self._answer(datagram, address))

    def serve_names(self, address: str) -> None:
        """A name server that knows one name."""
        server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, 53))
        _thread(lambda: self._name(server))

    def _accept(self, listener: socket.socket, address: str) -> None:
        connection, _ = listener.accept()
        self.heard.append(f"tcp {address}")
        connection.close()

    def _answer(self, server: socket.socket, address: str) -> None:
        text, peer = server.recvfrom(1000)
        self.heard.append(f"udp {address}")
        server.sendto(text, peer)

    def _name(self, server: socket.socket) -> None:
        query, peer = server.recvfrom(1000)
        question = query[12 : query.index(b"\0", 12) + 5]
        known = question == b"".join(bytes([len(p)]) + p.encode() for p in NAME.split(".")) + b"\0\0\1\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(ANSWER) if known else b""
        header = query[:2] + struct.pack("!5H", 0x8180, 1, int(known), 0, 0)
        server.sendto(header + question + answer, peer)


def _thread(action: Callable[[], None]) -> None:
    def always() -> None:
        while True:
            action()

    threading.Thread(target=always, daemon=True).start()


def interface(name: str) -> int:
    """A tap device that is up while its descriptor is open."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))  # TUNSETIFF, a tap
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return device


def make_interfaces() -> list[str]:
    """Both, with their addresses and default routes; returns all addresses, link-local ones too."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ("up0", "up1"):
        interface(name)
    for name, address in (*ADDRESSES, *OTHERS):
        extra = ["nodad"] if ":" in address else []
        subprocess.run(["ip", "address", "add", address, "dev", name, *extra], check=True)
    subprocess.run(["ip", "route", "add", "default", "via", "192.0.2.1"], check=True)
    subprocess.run(["ip", "-6", "route", "add", "default", "via", "2001:db8:1::1"], check=True)
    local = "fe80::99"  # on the first interface, whose name the testbed's has too
    subprocess.run(["ip", "address", "add", f"{local}/64", "dev", "up0", "nodad"], check=True)
    return [*(address.partition("/")[0] for _, address in (*ADDRESSES, *OTHERS)), f"{local}%up0"]


def testbed_of(kind: str) -> Testbed:
    """A testbed with the trees that all tests share."""
    if kind == "qemu":
        settings = Worker(testbed_user=account().name, tree_dir=TREES, source_dir=PACKAGES)
        return KeptTestbeds().of(QemuHost(name="machine"), settings)
    make = {"unshare": UnshareTestbed, "chroot": chroot_testbed}[kind]
    return make(account(), TreeCache(TREES, account(), 86400), PACKAGES, 4096)


def package_for(kind: str) -> str:
    """What tries it: to a machine of its own more is allowed than what the intruder tries."""
    return "ty-knock" if kind == "qemu" else "ty-intruder"


def inside(folder: Path, kind: str, variables: list[str]) -> str:
    """What the intruder prints in the testbed."""
    testbed = testbed_of(kind)
    workspace = Workspace(folder / "run")
    workspace.folder.mkdir(mode=0o711)
    command = Command(
        machine_release(),
        machine_architecture(),
        package_for(kind),
        options=tuple(f"--env={variable}" for variable in variables),
    )
    process = testbed.start(workspace, command, print, lambda: False)
    said = b""
    while chunk := os.read(process.output, 1 << 16):
        said += chunk
    process.wait()
    testbed.remove(workspace)
    return said.decode(errors="replace")


def outside(kind: str, variables: list[str]) -> str:
    """What its probe prints out here."""
    tests = PACKAGES / package_for(kind) / "debian" / "tests"
    environment = {"PATH": os.environ["PATH"], **dict(v.split("=", 1) for v in variables)}
    knock = [str(tests / "knock")]
    command = knock if kind == "qemu" else ["/usr/bin/python3", "-I", str(tests / "probe.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def main() -> None:
    """See above."""
    folder, resolv_conf, kind = Path(sys.argv[1]), *sys.argv[2:4]
    folder.chmod(0o711)
    subprocess.run(["mount", "--bind", resolv_conf, "/etc/resolv.conf"], check=True)
    machine = Machine()
    addresses = [*LOOPBACKS, *make_interfaces()]
    for address in addresses:
        machine.listen(address)
    for address in ("127.0.0.1", "::1"):
        machine.serve_names(address)
    targets = ",".join(f"{address}/{PORT}" for address in (*addresses, *sys.argv[4:]))
    variables = [f"TY_TARGETS={targets}", f"TY_NAME={NAME}"]
    found = {"inside": inside(folder, kind, variables), "heard_inside": sorted(set(machine.heard))}
    machine.heard.clear()
    found |= {"outside": outside(kind, variables), "heard_outside": sorted(set(machine.heard))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
