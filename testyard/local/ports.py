# SPDX-License-Identifier: AGPL-3.0-or-later
"""The TCP ports of one instance, all on 127.0.0.1."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from testyard.errors import SettingsError

LOOPBACK = "127.0.0.1"
# a part's first port has the part's name; those that only the part itself uses come after a dash
PORT_NAMES = (
    "broker",
    "broker-epmd",
    "broker-distribution",
    "store",
    "store-account",
    "store-container",
    "store-object",
    "index",
    "status",
    "request",
    "webhook",
    "forge",
    "notify",
    "site",
    "web",
    "worker",
)


#: Where free ports are looked for: below those that the kernel gives to outgoing connections, which
#: may take a part's port while the part does not run. Seen: "address already in use" at a start.
_LOWEST = 10240
_FIRST_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
#: The "bad ports" of the Fetch standard that every account may open.
_NOT_FOR_BROWSERS = frozenset(
    (1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080)
)
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int, *, avoid: Iterable[int] = ()) -> list[int]:
    """``count`` different ports that nobody listens on now, none of them in ``avoid``."""
    taken = set(avoid)
    found: list[int] = []
    while len(found) < count:
        port = _LOWEST + secrets.randbelow(_first_ephemeral() - _LOWEST)
        if port not in taken and not _bind_problem(port):
            taken.add(port)
            found.append(port)
    return found


def _first_ephemeral() -> int:
    """The kernel's first port for outgoing connections; its usual one if that is too low to be of use."""
    first = int(_EPHEMERAL.read_text().split()[0])
    return first if first > _LOWEST + 1000 else 32768


def parse_port_choice(text: str) -> tuple[str, int]:
    """``"web=8443"`` as ``("web", 8443)``. Raises SettingsError that says what is wrong."""
    name, _, number = text.partition("=")
    if name not in PORT_NAMES:
        raise SettingsError(
            f"--port {text}: no part {name!r}", resolution=f"Parts with a port: {', '.join(PORT_NAMES)}."
        )
    if not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        raise SettingsError(
            f"--port {text}: {number!r} is no port", resolution="Name a number from 1 to 65535: PART=N."
        )
    return name, int(number)


def port_warnings(ports: Mapping[str, int]) -> tuple[str, ...]:
    """What speaks against chosen ports without making them impossible: a sentence each."""
    found = []
    for name, port in ports.items():
        if port < _unprivileged():
            found.append(f"{name}: only root may use port {port}, as all below {_unprivileged()}.")
        if name == "web" and port in _NOT_FOR_BROWSERS:
            found.append(f"{name}: browsers refuse to open port {port}; choose another for the site.")
    return tuple(found)


def _unprivileged() -> int:
    try:
        return int(_FIRST_UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024


def check_ports_differ(ports: Mapping[str, int]) -> None:
    """Raises SettingsError when two parts have the same port."""
    seen: dict[int, str] = {}
    for name, port in ports.items():
        if port in seen:
            raise SettingsError(
                f"{seen[port]} and {name} both have port {port}.",
                resolution=f"Choose another one: testyard local up --port {name}=N",
            )
        seen[port] = name


def check_ports_free(ports: Mapping[str, int]) -> None:
    """Raises SettingsError naming the first part whose port somebody listens on, and who."""
    for name, port in ports.items():
        problem = _bind_problem(port)
        if problem:
            raise SettingsError(
                f"{name}: port {port} on {LOOPBACK} cannot be used: {problem}.",
                details=f"It is held by {_holder(port)}.",
                resolution=f"End that program, or choose another port: testyard local up --port {name}=N",
            )


def _bind_problem(port: int) -> str:
    with socket.socket() as probe:
        # without it a connection of the last run that waits its 60 s out counts as taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        connections = []
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                process = psutil.Process(connection.pid)
                return f"process {process.pid} ({' '.join(process.cmdline())[:120] or process.name()})"
            except psutil.Error:
                return f"process {connection.pid}"
    return "a process that this account cannot see"
