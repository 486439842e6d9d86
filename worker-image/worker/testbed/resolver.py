# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which name server a testbed asks: this machine's, also where that one listens on loopback only."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

#: What systemd-resolved asks itself, while /etc/resolv.conf names its own address on loopback.
_UPLINKS = Path("/run/systemd/resolve/resolv.conf")
_STUBS = ("127.0.0.53", "127.0.0.54")
#: The addresses in a testbed that pasta forwards to this machine's name server: of the ranges that are
#: for a single link and for documentation, so no real machine has them.
_FORWARDED = {4: "169.254.53.53", 6: "2001:db8:53::53"}


@dataclass(frozen=True)
class Resolver:
    """``text`` is the testbed's resolv.conf. Where ``forward`` is set, it names that address, which
    pasta is to forward to the first name server of its kind in this machine's /etc/resolv.conf.
    ``problem`` says why no name can be found, if that is so.
    """

    text: str
    forward: str = ""
    problem: str = ""


def machine_resolver(own_addresses: Collection[str]) -> Resolver:
    """The choice for this machine as it is now, and with these addresses."""
    return choose(_read(Path("/etc/resolv.conf")), _read(_UPLINKS), own_addresses)


def choose(resolv_conf: str, uplinks: str, own_addresses: Collection[str]) -> Resolver:
    """The choice from /etc/resolv.conf, from systemd-resolved's list ("" if there is none) and from
    this machine's addresses, which a testbed cannot reach.
    """
    named = _servers(resolv_conf)
    if not named:
        return Resolver(resolv_conf, problem="this machine's /etc/resolv.conf names no name server")
    if any(_elsewhere(server, own_addresses) for server in named):
        return Resolver(_keeping(resolv_conf, own_addresses))
    if any(server in _STUBS for server in named) and any(
        _elsewhere(server, own_addresses) for server in _servers(uplinks)
    ):
        return Resolver(_keeping(uplinks, own_addresses))
    # IPv4 first: there are machines without IPv6
    forward = _FORWARDED[6 if all(":" in server for server in named) else 4]
    others = [line for line in resolv_conf.splitlines() if _server(line) is None]
    return Resolver("\n".join([f"nameserver {forward}", *others, ""]), forward)


def _keeping(text: str, own_addresses: Collection[str]) -> str:
    """The text without the servers that a testbed cannot ask; each would cost it a wait."""
    kept = []
    for line in text.splitlines():
        server = _server(line)
        if server is None or _elsewhere(server, own_addresses):
            kept.append(line)
    return "\n".join([*kept, ""])


def _servers(text: str) -> list[str]:
    return [server for line in text.splitlines() if (server := _server(line)) is not None]


def _server(line: str) -> str | None:
    words = line.split()
    return words[1] if len(words) > 1 and words[0] == "nameserver" else None


def _elsewhere(server: str, own_addresses: Collection[str]) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    local = address.is_loopback or address.is_unspecified
    return not local and str(address).partition("%")[0] not in own_addresses


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
