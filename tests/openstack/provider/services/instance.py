# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instances: made, resized, rebuilt, stopped, deleted. What is read of one is in ``instance_state``."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import ProviderError, Resource, Service, given, wait_until
from tests.openstack.provider.services.instance_state import read_instance
from tests.openstack.provider.values import Values

_FACTS = Facts(
    # image and flavor are not in it: a new image rebuilds the same instance, a new flavor resizes it
    replaces=(
        "user_data availability_zone_hints availability_zone network_mode config_drive key_pair"
        " network network.uuid network.name network.port network.fixed_ip_v4 network.fixed_ip_v6"
        " block_device.source_type block_device.uuid block_device.volume_size block_device.destination_type"
        " block_device.boot_index block_device.delete_on_termination block_device.guest_format"
        " block_device.volume_type block_device.device_type block_device.disk_bus block_device.multiattach"
        " scheduler_hints.group scheduler_hints.different_host scheduler_hints.same_host"
        " scheduler_hints.query scheduler_hints.target_cell scheduler_hints.different_cell"
        " scheduler_hints.build_near_host_ip scheduler_hints.additional_properties"
    ),
    sensitive="admin_pass",
    hashed="user_data",
    computed_blocks="network",
    defaults={
        "power_state": "active",
        "stop_before_destroy": False,
        "force_delete": False,
        "network.access_network": False,
        "block_device.delete_on_termination": False,
        "block_device.multiattach": False,
        "vendor_options.ignore_resize_confirmation": False,
        "vendor_options.detach_ports_before_destroy": False,
    },
    conflicts=("availability_zone availability_zone_hints", "network network_mode"),
)
_BUILD_SECONDS = 300.0
_BLOCK_DEVICE = {
    "source_type": "source_type",
    "uuid": "uuid",
    "volume_size": "volume_size",
    "destination_type": "destination_type",
    "boot_index": "boot_index",
    "delete_on_termination": "delete_on_termination",
    "guest_format": "guest_format",
    "volume_type": "volume_type",
    "device_type": "device_type",
    "disk_bus": "disk_bus",
}


def _create(connection: Connection, wanted: Values) -> Values:
    if wanted.get("personality"):
        raise ProviderError("personality: no cloud of today takes it (gone since microversion 2.57)")
    asked: dict[str, Any] = given(
        wanted,
        {"name": "name", "key_pair": "key_name", "metadata": "metadata", "config_drive": "has_config_drive"},
    )
    asked |= {
        "flavor_id": _flavor_id(connection, wanted),
        "networks": _networks(connection, wanted),
        "security_groups": [{"name": name} for name in wanted.get("security_groups") or []],
        "scheduler_hints": _hints(wanted),
        "tags": sorted(wanted.get("tags") or []),
    }
    asked |= _image(connection, wanted)
    if wanted.get("user_data"):
        asked["user_data"] = encoded(wanted["user_data"])
    if wanted.get("admin_pass"):
        asked["admin_password"] = wanted["admin_pass"]
    zone = wanted.get("availability_zone") or wanted.get("availability_zone_hints")
    if zone:
        asked["availability_zone"] = zone
    return {"id": connection.compute.create_server(**{k: v for k, v in asked.items() if v}).id}


def encoded(text: str) -> str:
    """User data as the API takes it: what is base64 already goes as it is, as the official provider does."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return base64.b64encode(text.encode()).decode()
    return text


def _flavor_id(connection: Connection, wanted: Values) -> str:
    if wanted.get("flavor_id"):
        return str(wanted["flavor_id"])
    if wanted.get("flavor_name"):
        return str(connection.compute.find_flavor(wanted["flavor_name"], ignore_missing=False).id)
    raise ProviderError("one of flavor_id and flavor_name must be given")


def _image(connection: Connection, wanted: Values) -> dict[str, Any]:
    devices = wanted.get("block_device") or []
    asked: dict[str, Any] = {}
    if devices:
        asked["block_device_mapping"] = [given(one, _BLOCK_DEVICE) for one in devices]
    if any(one.get("boot_index") == 0 and one.get("destination_type") == "volume" for one in devices):
        return asked
    return {**asked, "image_id": _image_id(connection, wanted)}


def _image_id(connection: Connection, wanted: Values) -> str:
    if wanted.get("image_id"):
        return str(wanted["image_id"])
    if wanted.get("image_name"):
        return str(connection.image.find_image(wanted["image_name"], ignore_missing=False).id)
    raise ProviderError("one of image_id and image_name must be given, or a volume to boot from")


def _networks(connection: Connection, wanted: Values) -> Any:
    blocks = wanted.get("network")
    if not blocks:
        return wanted.get("network_mode") or "auto"
    return [_one_network(connection, block) for block in blocks]


def _one_network(connection: Connection, block: Values) -> dict[str, str]:
    if block.get("port"):
        return {"port": block["port"]}
    network = block.get("uuid")
    if not network:
        network = connection.network.find_network(block["name"], ignore_missing=False).id
    fixed = block.get("fixed_ip_v4") or block.get("fixed_ip_v6")
    return {"uuid": network, "fixed_ip": fixed} if fixed else {"uuid": network}


def _hints(wanted: Values) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for block in wanted.get("scheduler_hints") or []:
        more = block.get("additional_properties") or {}
        hints |= {name: value for name, value in block.items() if value and name != "additional_properties"}
        hints |= more
    return hints


def _ready(connection: Connection, state: Values) -> None:
    _status(connection, state["id"], "ACTIVE")
    _power(connection, state["id"], state.get("power_state") or "active")


def _status(connection: Connection, id_: str, wanted: str) -> None:
    def reached() -> bool:
        server = connection.compute.get_server(id_)
        if server.status == "ERROR":
            reason = (server.fault or {}).get("message", "no reason given")
            raise ProviderError(f"the instance is in ERROR: {reason}")
        return bool(server.status == wanted)

    wait_until(reached, seconds=_BUILD_SECONDS, what=f"the instance is {wanted}")


def _power(connection: Connection, id_: str, wanted: str) -> None:
    now = connection.compute.get_server(id_).status
    if wanted == "shutoff" and now != "SHUTOFF":
        connection.compute.stop_server(id_)
        _status(connection, id_, "SHUTOFF")
    elif wanted == "active" and now == "SHUTOFF":
        connection.compute.start_server(id_)
        _status(connection, id_, "ACTIVE")
    elif wanted not in {"active", "shutoff"}:
        raise ProviderError(f"power_state: the stand-in provider knows active and shutoff, not {wanted}")


def _update(connection: Connection, before: Values, after: Values) -> None:
    id_ = before["id"]
    if before["name"] != after["name"]:
        connection.compute.update_server(id_, name=after["name"])
    if before.get("power_state") != after.get("power_state"):
        _power(connection, id_, after["power_state"])
    _update_metadata(connection, id_, before.get("metadata") or {}, after.get("metadata") or {})
    _update_groups(connection, id_, before.get("security_groups"), after.get("security_groups"))
    if before.get("tags") != after.get("tags"):
        connection.compute.put(
            f"/servers/{id_}/tags", json={"tags": sorted(after.get("tags") or [])}, microversion="2.26"
        )
    if _differs(before, after, "image_id", "image_name"):
        connection.compute.rebuild_server(id_, image=_image_id(connection, _told(before, after, "image_id")))
        _status(connection, id_, "ACTIVE")
    if _differs(before, after, "flavor_id", "flavor_name"):
        connection.compute.resize_server(id_, _flavor_id(connection, _told(before, after, "flavor_id")))
        _status(connection, id_, "VERIFY_RESIZE")
        connection.compute.confirm_server_resize(id_)
        _status(connection, id_, "ACTIVE")


def _differs(before: Values, after: Values, *names: str) -> bool:
    return any(before.get(name) != after.get(name) for name in names)


def _told(before: Values, after: Values, id_name: str) -> Values:
    """``after`` without an id that is the former one: then the name has changed and counts."""
    return {**after, id_name: None} if before.get(id_name) == after.get(id_name) else after


def _update_metadata(connection: Connection, id_: str, old: Values, new: Values) -> None:
    if old.keys() - new.keys():
        connection.compute.delete_server_metadata(id_, sorted(old.keys() - new.keys()))
    if new and old != new:
        connection.compute.set_server_metadata(id_, **new)


def _update_groups(connection: Connection, id_: str, old: Any, new: Any) -> None:
    for name in sorted(set(old or []) - set(new or [])):
        # a group that has another name by now is not found under its old one
        with suppress(NotFoundException):
            connection.compute.remove_security_group_from_server(id_, name)
    for name in sorted(set(new or []) - set(old or [])):
        connection.compute.add_security_group_to_server(id_, name)


def _delete(connection: Connection, state: Values) -> None:
    id_ = state["id"]
    if state.get("stop_before_destroy"):
        _power(connection, id_, "shutoff")
    connection.compute.delete_server(id_, ignore_missing=False, force=bool(state.get("force_delete")))

    def gone() -> bool:
        try:
            connection.compute.get_server(id_)
        except NotFoundException:
            return True
        return False

    wait_until(gone, seconds=_BUILD_SECONDS, what="the instance is gone")


SERVICE = Service({"compute_instance_v2": Resource(_FACTS, _create, read_instance, _delete, _update, _ready)})
