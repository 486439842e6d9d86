# SPDX-License-Identifier: AGPL-3.0-or-later
"""Volumes, and to which instance one is attached."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection
from openstack.exceptions import NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import (
    ProviderError,
    Resource,
    Service,
    changed,
    given,
    wait_until,
    when_free,
)
from tests.openstack.provider.values import Values

_SECONDS = 300.0
_FIELDS = {
    "size": "size",
    "name": "name",
    "description": "description",
    "availability_zone": "availability_zone",
    "metadata": "metadata",
    "snapshot_id": "snapshot_id",
    "source_vol_id": "source_volume_id",
    "image_id": "image_id",
    "volume_type": "volume_type",
    "consistency_group_id": "consistency_group_id",
    "backup_id": "backup_id",
}


def _create(connection: Connection, wanted: Values) -> Values:
    asked = given(wanted, _FIELDS)
    hints: dict[str, Any] = {}
    for block in wanted.get("scheduler_hints") or []:
        hints |= {name: value for name, value in block.items() if value}
    if hints:
        asked["scheduler_hints"] = hints
    return {"id": connection.block_storage.create_volume(**asked).id}


def _ready(connection: Connection, state: Values) -> None:
    _status(connection, state["id"], "available")


def _status(connection: Connection, id_: str, *wanted: str) -> None:
    def reached() -> bool:
        status = connection.block_storage.get_volume(id_).status
        if status.startswith("error"):
            raise ProviderError(f"the volume is in {status}")
        return status in wanted

    wait_until(reached, seconds=_SECONDS, what=f"the volume is {' or '.join(wanted)}")


def _read(connection: Connection, state: Values) -> Values:
    found = connection.block_storage.get_volume(state["id"])
    read = ("size", "name", "description", "availability_zone", "metadata", "volume_type", "snapshot_id")
    return {
        **{name: getattr(found, _FIELDS[name]) for name in read},
        "attachment": [
            {"id": one["id"], "instance_id": one["server_id"], "device": one.get("device")}
            for one in found.attachments or []
        ],
    }


def _update(connection: Connection, before: Values, after: Values) -> None:
    id_ = before["id"]
    if after["size"] < before["size"]:
        raise ProviderError("size: a volume does not shrink")
    if after["size"] > before["size"]:
        if not after.get("enable_online_resize"):
            _status(connection, id_, "available")
        connection.block_storage.extend_volume(id_, after["size"])
        _status(connection, id_, "available", "in-use")
    changes = changed(before, after, {"name": "name", "description": "description"})
    if changes:
        connection.block_storage.update_volume(id_, **changes)
    old, new = before.get("metadata") or {}, after.get("metadata") or {}
    if old.keys() - new.keys():
        connection.block_storage.delete_volume_metadata(id_, sorted(old.keys() - new.keys()))
    if new and old != new:
        connection.block_storage.set_volume_metadata(id_, **new)


def _delete(connection: Connection, state: Values) -> None:
    id_ = state["id"]
    found = connection.block_storage.get_volume(id_)
    for one in found.attachments or []:
        connection.compute.delete_volume_attachment(one["server_id"], one["volume_id"])
    if found.status not in {"available", "error"}:
        _status(connection, id_, "available")
    when_free(lambda: connection.block_storage.delete_volume(id_, ignore_missing=False))

    def gone() -> bool:
        try:
            connection.block_storage.get_volume(id_)
        except NotFoundException:
            return True
        return False

    wait_until(gone, seconds=_SECONDS, what="the volume is gone")


def _attach(connection: Connection, wanted: Values) -> Values:
    asked: dict[str, Any] = given(wanted, {"device": "device", "tag": "tag"})
    connection.compute.create_volume_attachment(wanted["instance_id"], wanted["volume_id"], **asked)
    return {"id": f"{wanted['instance_id']}/{wanted['volume_id']}"}


def _attached(connection: Connection, state: Values) -> None:
    _status(connection, state["volume_id"], "in-use")


def _read_attachment(connection: Connection, state: Values) -> Values:
    instance, _, volume = state["id"].partition("/")
    found = connection.compute.get_volume_attachment(instance, volume)
    return {"instance_id": instance, "volume_id": volume, "device": found.device}


def _detach(connection: Connection, state: Values) -> None:
    instance, _, volume = state["id"].partition("/")
    connection.compute.delete_volume_attachment(instance, volume, ignore_missing=False)
    _status(connection, volume, "available")


SERVICE = Service(
    {
        "blockstorage_volume_v3": Resource(
            Facts(
                replaces=(
                    "availability_zone snapshot_id source_vol_id image_id backup_id volume_type"
                    " consistency_group_id source_replica scheduler_hints.different_host"
                    " scheduler_hints.same_host scheduler_hints.query scheduler_hints.local_to_instance"
                    " scheduler_hints.additional_properties"
                ),
                conflicts=("snapshot_id source_vol_id image_id backup_id",),
            ),
            _create,
            _read,
            _delete,
            _update,
            _ready,
        ),
        "compute_volume_attach_v2": Resource(
            Facts(
                replaces="instance_id volume_id multiattach tag vendor_options",
                defaults={"vendor_options.ignore_volume_confirmation": False},
            ),
            _attach,
            _read_attachment,
            _detach,
            ready=_attached,
        ),
    }
)
