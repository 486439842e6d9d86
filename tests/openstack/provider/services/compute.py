# SPDX-License-Identifier: AGPL-3.0-or-later
"""Key pairs, flavors and who may use them, server groups."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection
from openstack.exceptions import NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import Resource, Service, given
from tests.openstack.provider.values import Values


def _create_key(connection: Connection, wanted: Values) -> Values:
    fields = {"name": "name", "public_key": "public_key", "user_id": "user_id"}
    made = connection.compute.create_keypair(**given(wanted, fields))
    # nobody tells it a second time
    return {"id": made.name, "private_key": made.private_key}


def _read_key(connection: Connection, state: Values) -> Values:
    found = connection.compute.get_keypair(state["id"], user_id=state.get("user_id"))
    return {
        "name": found.name,
        "public_key": found.public_key,
        "fingerprint": found.fingerprint,
        "user_id": found.user_id,
    }


def _delete_key(connection: Connection, state: Values) -> None:
    connection.compute.delete_keypair(state["id"], ignore_missing=False, user_id=state.get("user_id"))


_FLAVOR_FIELDS = {
    "name": "name",
    "ram": "ram",
    "vcpus": "vcpus",
    "disk": "disk",
    "swap": "swap",
    "ephemeral": "ephemeral",
    "rx_tx_factor": "rxtx_factor",
    "is_public": "is_public",
    "description": "description",
}


def _create_flavor(connection: Connection, wanted: Values) -> Values:
    # it is private unless told otherwise: the official provider sends false where nothing is given
    asked = {"is_public": False, **given(wanted, {**_FLAVOR_FIELDS, "flavor_id": "id"})}
    return {"id": connection.compute.create_flavor(**asked).id}


def _add_specs(connection: Connection, state: Values) -> None:
    if state.get("extra_specs"):
        connection.compute.create_flavor_extra_specs(state["id"], state["extra_specs"])


def _read_flavor(connection: Connection, state: Values) -> Values:
    found = connection.compute.get_flavor(state["id"], get_extra_specs=True)
    seen: Values = {name: getattr(found, sdk, None) for name, sdk in _FLAVOR_FIELDS.items()}
    return {**seen, "swap": seen["swap"] or 0, "flavor_id": found.id, "extra_specs": found.extra_specs or {}}


def _update_flavor(connection: Connection, before: Values, after: Values) -> None:
    if before.get("description") != after.get("description"):
        connection.compute.update_flavor(before["id"], description=after.get("description"))
    old, new = before.get("extra_specs") or {}, after.get("extra_specs") or {}
    for name in old.keys() - new.keys():
        connection.compute.delete_flavor_extra_specs_property(before["id"], name)
    if new and new != old:
        connection.compute.create_flavor_extra_specs(before["id"], new)


def _delete_flavor(connection: Connection, state: Values) -> None:
    connection.compute.delete_flavor(state["id"], ignore_missing=False)


def _allow(connection: Connection, wanted: Values) -> Values:
    connection.compute.flavor_add_tenant_access(wanted["flavor_id"], wanted["tenant_id"])
    return {"id": f"{wanted['flavor_id']}/{wanted['tenant_id']}"}


def _read_access(connection: Connection, state: Values) -> Values:
    flavor, _, tenant = state["id"].partition("/")
    if tenant not in {one["tenant_id"] for one in connection.compute.get_flavor_access(flavor)}:
        raise NotFoundException(state["id"])
    return {"flavor_id": flavor, "tenant_id": tenant}


def _deny(connection: Connection, state: Values) -> None:
    flavor, _, tenant = state["id"].partition("/")
    connection.compute.flavor_remove_tenant_access(flavor, tenant)


def _create_group(connection: Connection, wanted: Values) -> Values:
    asked: dict[str, Any] = {"name": wanted["name"]}
    for policy in wanted.get("policies") or []:
        asked["policy"] = policy
    for rules in wanted.get("rules") or []:
        if rules.get("max_server_per_host"):
            asked["rules"] = {"max_server_per_host": rules["max_server_per_host"]}
    return {"id": connection.compute.create_server_group(**asked).id}


def _read_group(connection: Connection, state: Values) -> Values:
    found = connection.compute.get_server_group(state["id"])
    most = (found.rules or {}).get("max_server_per_host")
    return {
        "name": found.name,
        "policies": [found.policy] if found.policy else list(found.policies or []),
        "members": list(found.member_ids or []),
        "rules": [{"max_server_per_host": most}] if most else [],
    }


def _delete_group(connection: Connection, state: Values) -> None:
    connection.compute.delete_server_group(state["id"], ignore_missing=False)


SERVICE = Service(
    {
        "compute_keypair_v2": Resource(
            Facts(replaces="name public_key value_specs user_id", sensitive="private_key"),
            _create_key,
            _read_key,
            _delete_key,
        ),
        "compute_flavor_v2": Resource(
            Facts(
                replaces="name ram vcpus disk swap ephemeral rx_tx_factor is_public flavor_id",
                defaults={"rx_tx_factor": 1},
            ),
            _create_flavor,
            _read_flavor,
            _delete_flavor,
            _update_flavor,
            _add_specs,
        ),
        "compute_flavor_access_v2": Resource(
            Facts(replaces="flavor_id tenant_id"), _allow, _read_access, _deny
        ),
        "compute_servergroup_v2": Resource(
            Facts(
                replaces="name policies value_specs rules rules.max_server_per_host",
                computed_blocks="rules",
            ),
            _create_group,
            _read_group,
            _delete_group,
        ),
    }
)
