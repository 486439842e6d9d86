# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is read of an instance."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import NotFoundException

from tests.openstack.provider.services.plain import tags_seen
from tests.openstack.provider.values import Values

_STATES = {"active", "shutoff", "error", "migrating", "shelved_offloaded", "shelved", "build", "paused"}


def read_instance(connection: Connection, state: Values) -> Values:
    """Everything that the official provider reads of it.

    What it does not read either (metadata as given, block devices, hints) stays as it is in the state.
    """
    server = connection.compute.get_server(state["id"])
    if server.status == "DELETED":
        raise NotFoundException(state["id"])
    networks = _networks(connection, server, state.get("network") or [])
    power = server.status.lower()
    return {
        "name": server.name,
        "created": str(server.created_at),
        "updated": str(server.updated_at),
        "network": networks,
        "access_ip_v4": _access(networks, "fixed_ip_v4") or server.access_ipv4 or "",
        "access_ip_v6": _access(networks, "fixed_ip_v6") or server.access_ipv6 or "",
        "all_metadata": dict(server.metadata or {}),
        "security_groups": sorted({one["name"] for one in server.security_groups or []}),
        "key_pair": server.key_name or "",
        "availability_zone": server.availability_zone,
        "power_state": power if power in _STATES else state.get("power_state"),
        **_flavor(connection, server),
        **_image(connection, server),
        **tags_seen(state, server.tags),
    }


def _flavor(connection: Connection, server: Any) -> Values:
    name = server.flavor.original_name or server.flavor.name
    found = next((one for one in connection.compute.flavors(is_public=None) if one.name == name), None)
    # as of an instance whose flavor was deleted since
    return {"flavor_id": found.id, "flavor_name": name} if found else {"flavor_id": "", "flavor_name": ""}


def _image(connection: Connection, server: Any) -> Values:
    id_ = server.image.id if server.image else None
    if not id_:
        return {"image_id": "Attempt to boot from volume - no image supplied"}
    try:
        return {"image_id": id_, "image_name": connection.image.get_image(id_).name}
    except NotFoundException:
        return {"image_id": id_, "image_name": "Image not found"}


def _networks(connection: Connection, server: Any, blocks: list[Values]) -> list[Values]:
    """A block for each interface: in the order of those that are known, the others after them."""
    interfaces = [_interface(connection, one) for one in connection.compute.server_interfaces(server)]
    ordered = []
    for block in blocks:
        mine = next((one for one in interfaces if _is_of(one, block)), None)
        if mine is None:
            continue
        interfaces.remove(mine)
        # a port is named in the state only where it was given
        ordered.append(
            {**mine, "port": block.get("port") or "", "access_network": block.get("access_network") or False}
        )
    return ordered if blocks else [{**one, "port": "", "access_network": False} for one in interfaces]


def _interface(connection: Connection, found: Any) -> Values:
    addresses = [one["ip_address"] for one in found.fixed_ips or []]
    return {
        "uuid": found.net_id,
        "name": connection.network.get_network(found.net_id).name,
        "port": found.port_id,
        "fixed_ip_v4": _first(addresses, 4),
        "fixed_ip_v6": _first(addresses, 6),
        "mac": found.mac_addr,
    }


def _first(addresses: Iterable[str], version: int) -> str:
    return next((one for one in addresses if ip_address(one).version == version), "")


def _is_of(interface: Values, block: Values) -> bool:
    if block.get("port"):
        return bool(block["port"] == interface["port"])
    return all(
        not block.get(name) or block[name] == interface[name] for name in ("uuid", "name", "fixed_ip_v4")
    )


def _access(networks: list[Values], name: str) -> str:
    """The address by which it is reached: of the network that is marked for it, else the first."""
    ordered = sorted(networks, key=lambda one: not one["access_network"])
    return next((one[name] for one in ordered if one[name]), "")
