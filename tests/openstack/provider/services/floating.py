# SPDX-License-Identifier: AGPL-3.0-or-later
"""Floating addresses, and to which port one leads."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import ProviderError, Resource, Service
from tests.openstack.provider.services.plain import Networking
from tests.openstack.provider.values import Values

_FIELDS = {
    "description": "description",
    "address": "floating_ip_address",
    "port_id": "port_id",
    "tenant_id": "project_id",
    "fixed_ip": "fixed_ip_address",
    "subnet_id": "subnet_id",
    "dns_name": "dns_name",
    "dns_domain": "dns_domain",
}


def _observe(connection: Connection, found: Any) -> Values:
    pool = connection.network.get_network(found.floating_network_id)
    return {"pool": pool.name, "port_id": found.port_id or "", "fixed_ip": found.fixed_ip_address or ""}


_FACTS = Facts(
    replaces="address pool tenant_id value_specs dns_name dns_domain",
    conflicts=("subnet_id subnet_ids",),
)
_ADDRESS = Networking("ip", _FIELDS, observe=_observe)


def _create(connection: Connection, wanted: Values) -> Values:
    pool = connection.network.find_network(wanted["pool"], ignore_missing=False)
    specs = {**(wanted.get("value_specs") or {}), "floating_network_id": pool.id}
    return _ADDRESS.create(connection, {**wanted, "value_specs": specs})


def _associate(connection: Connection, wanted: Values) -> Values:
    found = list(connection.network.ips(floating_ip_address=wanted["floating_ip"]))
    if len(found) != 1:
        raise ProviderError(f"floating_ip: {wanted['floating_ip']} is not one of this project's")
    _lead(connection, found[0].id, wanted)
    return {"id": found[0].id}


def _lead(connection: Connection, id_: str, wanted: Values) -> None:
    fixed = {"fixed_ip_address": wanted["fixed_ip"]} if wanted.get("fixed_ip") else {}
    connection.network.update_ip(id_, port_id=wanted["port_id"], **fixed)


def _read_association(connection: Connection, state: Values) -> Values:
    found = connection.network.get_ip(state["id"])
    return {
        "floating_ip": found.floating_ip_address,
        "port_id": found.port_id or "",
        "fixed_ip": found.fixed_ip_address or "",
    }


def _change_association(connection: Connection, before: Values, after: Values) -> None:
    _lead(connection, before["id"], {**after, "fixed_ip": _given_anew(before, after)})


def _given_anew(before: Values, after: Values) -> Any:
    """The address on the port, unless it was the former port's."""
    return None if before["fixed_ip"] == after["fixed_ip"] else after["fixed_ip"]


def _dissociate(connection: Connection, state: Values) -> None:
    connection.network.update_ip(state["id"], port_id=None)


SERVICE = Service(
    {
        "networking_floatingip_v2": Resource(
            _FACTS, _create, _ADDRESS.read, _ADDRESS.delete, _ADDRESS.update, _ADDRESS.ready
        ),
        "networking_floatingip_associate_v2": Resource(
            Facts(replaces="floating_ip"),
            _associate,
            _read_association,
            _dissociate,
            _change_association,
        ),
    }
)
