# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images that are there already."""

from __future__ import annotations

import re
from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.kinds import DataSource, Service, given, only_one
from tests.openstack.provider.values import Values

_QUERY = {
    "name": "name",
    "owner": "owner",
    "visibility": "visibility",
    "container_format": "container_format",
    "disk_format": "disk_format",
    "member_status": "member_status",
    "size_min": "size_min",
    "size_max": "size_max",
}


def _image(connection: Connection, config: Values) -> Values:
    asked = given(config, _QUERY)
    tags = {config["tag"]} if config.get("tag") else set(config.get("tags") or [])
    found = [
        one for one in connection.image.images(**asked) if tags <= set(one.tags or []) and _fits(one, config)
    ]
    if config.get("most_recent"):
        found = sorted(found, key=lambda one: str(one.created_at))[-1:]
    return only_one([_values(one) for one in found], "images_image_v2")


def _fits(found: Any, config: Values) -> bool:
    if config.get("name_regex") and not re.search(config["name_regex"], found.name or ""):
        return False
    properties = _properties(found)
    return all(properties.get(name) == value for name, value in (config.get("properties") or {}).items())


def _properties(found: Any) -> dict[str, str]:
    standard = {
        "architecture": found.architecture,
        "os_version": found.os_version,
        "os_distro": found.os_distro,
    }
    return {name: str(value) for name, value in {**found.properties, **standard}.items() if value is not None}


def _values(found: Any) -> Values:
    return {
        "id": found.id,
        "name": found.name,
        "checksum": found.checksum,
        "container_format": found.container_format,
        "disk_format": found.disk_format,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "file": f"/v2/images/{found.id}/file",
        "schema": found.schema,
        "hidden": found.is_hidden,
        "owner": found.owner_id or found.owner,
        "protected": found.is_protected,
        "min_disk_gb": found.min_disk,
        "min_ram_mb": found.min_ram,
        "size_bytes": found.size,
        "visibility": found.visibility,
        "tags": sorted(found.tags or []),
        "metadata": {},
    }


SERVICE = Service({}, {"images_image_v2": DataSource(_image)})
