# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network of a LXD host's testbeds: they reach the package archive, and nothing of the host.

All by LXD's own means, so it is the same on this machine and on others: a bridge of ours, an access list
on it that refuses every address of the host (LXD itself lets DNS and DHCP pass), and a profile that puts
instances on that bridge, apart from each other.
"""

from __future__ import annotations

import ipaddress
import threading
from typing import Any

import pylxd
from pylxd.exceptions import Conflict, LXDAPIException, NotFound

from testyard.errors import LastingTestbedError
from testyard.hosts import LxdHost

#: Name of the bridge and of the access list.
NAME = "testyard"
#: Never a way to the archive: loopback, the link itself, in a cloud its metadata service.
_NEVER = ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10")
_EVERYWHERE = ("0.0.0.0/0", "::/0")


class Fence:
    """Makes it and keeps it right: a host's addresses may change."""

    def __init__(self, host: LxdHost) -> None:
        self._host = host
        self._lock = threading.Lock()

    @property
    def profile(self) -> str:
        """The profile that instances need."""
        return f"{NAME}-{self._host.pool}"

    def ensure(self, client: pylxd.Client) -> None:
        """Make what is missing, mend what differs. Raises LastingTestbedError, and what pylxd raises."""
        if client.server_clustered:
            raise LastingTestbedError(
                f"LXD {self._host.address} is a cluster: not all its members' addresses can be fenced off",
                resolution="Name single servers as hosts.",
            )
        with self._lock:
            # first the list, which refuses all, then the bridge under it, whose address is then refused
            if _get(client.api["network-acls"][NAME]) is None:
                _make(client.api["network-acls"], {"name": NAME})
            self._bridge(client)
            _keep(client.api["network-acls"][NAME], _rules(_addresses(client)))
            if _get(client.api.profiles[self.profile]) is None:
                _make(client.api.profiles, {"name": self.profile})
            _keep(client.api.profiles[self.profile], self._wanted_profile())

    def _bridge(self, client: pylxd.Client) -> None:
        network = _get(client.api.networks[NAME])
        if network is None:
            config = {
                "ipv4.address": self._host.subnet,
                "ipv4.nat": "true",
                "ipv6.address": "none",
                "security.acls": NAME,
            }
            try:
                _make(client.api.networks, {"name": NAME, "type": "bridge", "config": config})
            except LXDAPIException as error:
                raise LastingTestbedError(
                    f"LXD {self._host.address} cannot make the bridge {NAME}: {error}",
                    resolution="It needs nftables (or iptables) and dnsmasq-base before it starts; "
                    "`subnet` of the host names an address, e.g. 10.99.77.1/24.",
                ) from error
        elif not network["managed"]:
            raise LastingTestbedError(
                f"LXD {self._host.address} has an interface {NAME} that is not its own",
                resolution=f"Rename it: the worker makes a bridge of that name ({NAME}).",
            )
        elif NAME not in network["config"].get("security.acls", "").split(","):
            client.api.networks[NAME].patch(json={"config": {"security.acls": NAME}})

    def _wanted_profile(self) -> dict[str, Any]:
        return {
            # no way to ask LXD from inside, no root of the host's
            "config": {"security.devlxd": "false", "security.privileged": "false"},
            "description": "Testbeds of Testyard, which keeps this as it is",
            "devices": {
                "eth0": {
                    "name": "eth0",
                    "network": NAME,
                    "security.mac_filtering": "true",
                    "security.port_isolation": "true",
                    "type": "nic",
                },
                "root": {"path": "/", "pool": self._host.pool, "type": "disk"},
            },
        }


def _addresses(client: pylxd.Client) -> list[str]:
    """Every address of the host, on any of its interfaces."""
    found = set()
    for network in client.api.networks.get(params={"recursion": 1}).json()["metadata"]:
        state = _get(client.api.networks[network["name"]].state)
        for row in (state or {}).get("addresses") or ():
            address = ipaddress.ip_address(row["address"])
            if not address.is_loopback and not address.is_link_local:
                found.add(str(address))
    return sorted(found)


def _rules(addresses: list[str]) -> dict[str, Any]:
    """What is refused goes before what is allowed, whatever the order; answers pass."""
    refused = {"action": "reject", "destination": ",".join((*_NEVER, *addresses)), "state": "enabled"}
    allowed = {"action": "allow", "destination": ",".join(_EVERYWHERE), "state": "enabled"}
    return {
        "description": "Testbeds of Testyard, which keeps this as it is",
        "egress": [refused, allowed],
        "ingress": [],
        "config": {},
    }


def _get(node: Any) -> dict[str, Any] | None:
    """What is there; None if nothing is, which an interface that has just gone is, too."""
    try:
        found: dict[str, Any] = node.get().json()["metadata"]
    except NotFound:
        return None
    return found


def _make(node: Any, what: dict[str, Any]) -> None:
    try:
        node.post(json=what)
    except Conflict:
        return  # another worker was faster
    except LXDAPIException as error:
        if "already" not in str(error):
            raise


def _keep(node: Any, wanted: dict[str, Any]) -> None:
    found = _get(node) or {}
    if any(found.get(key) != value for key, value in wanted.items()):
        node.put(json=wanted)
