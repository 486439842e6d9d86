# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ty-intruder is told to try against a system, and what the same attempts give outside a testbed."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from tests.system import PACKAGES, TREES, System

PROBE = PACKAGES / "ty-intruder" / "debian" / "tests" / "probe.py"
#: What a kernel may lack or refuse to all: then it proves nothing here, and harms nothing.
OPTIONAL = {"socket to the machine below", "ring"}
KEY = 0x7479_0000 + os.getpid() % 0xFFFF


def wanted(system: System) -> dict[str, str]:
    """The intruder's orders (tests/packages/ty-intruder/debian/tests/probe.py)."""
    state = system.state
    other_run = state.path / "work" / "runs" / "another" / "log"
    other_run.parent.mkdir(parents=True)
    other_run.write_text("of another run")
    secrets = (
        *(state.path / name for name in ("", "state.json", "index.db", "work", "swift", "rabbitmq")),
        *(state.settings_file, state.log_dir / "worker.log", other_run, TREES),
    )
    targets = [f"{host}/{port}" for host in _hosts() for port in sorted(state.ports.values())]
    return {
        "TY_ARCHIVE": "1",
        "TY_TARGETS": ",".join(targets),
        "TY_SECRETS": ",".join(str(secret) for secret in secrets),
        "TY_ABSTRACT": f"ty-bait-{os.getpid()}",
        "TY_SHARED": str(KEY),
        "TY_WORD": str(state.path),
    }


@contextmanager
def bait(abstract: str) -> Iterator[None]:
    """What the intruder looks for, beside the system: socket, memory, a process in other namespaces."""
    libc = ctypes.CDLL(None)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind("\0" + abstract)
        listener.listen()
        segment = libc.shmget(KEY, 4096, 0o1666)
        assert segment >= 0
        stack.callback(libc.shmctl, segment, 0, None)
        stranger = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "300"])
        stack.callback(stranger.wait)
        stack.callback(stranger.kill)
        yield


def probe_outside(orders: dict[str, str]) -> dict[str, bool]:
    """What the same attempts give out here."""
    command = ["/usr/bin/python3", "-I", str(PROBE)]
    environment = {"PATH": os.environ["PATH"], **orders}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return attempts(done.stdout)


def attempts(text: str) -> dict[str, bool]:
    """Each attempt by name, and whether it worked."""
    lines = re.findall(r"^(open|closed) (.+)$", text, re.MULTILINE)
    assert len(lines) > 50, text
    return {name: word == "open" for word, name in lines}


def _hosts() -> list[str]:
    """Loopback, this machine's own addresses and its gateway, as a test would find them."""
    own = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    with open("/proc/net/route") as routes:
        rows = [line.split() for line in routes.readlines()[1:]]
    gateways = [bytes.fromhex(row[2])[::-1] for row in rows if row[1] == "00000000"]
    hosts = ["127.0.0.1", "localhost", "::1", *own, *(socket.inet_ntoa(gateway) for gateway in gateways)]
    return list(dict.fromkeys(hosts))
