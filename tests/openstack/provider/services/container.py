# SPDX-License-Identifier: AGPL-3.0-or-later
"""Containers of the object store."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from openstack.connection import Connection
from openstack.exceptions import HttpException, NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import ProviderError, Resource, Service
from tests.openstack.provider.values import Values

_HEADERS = {
    "container_read": "X-Container-Read",
    "container_write": "X-Container-Write",
    "container_sync_to": "X-Container-Sync-To",
    "container_sync_key": "X-Container-Sync-Key",
    "content_type": "Content-Type",
}
_META = "X-Container-Meta-"


def _path(name: str) -> str:
    return f"/{quote(name, safe='')}"


def _checked(answer: Any) -> Any:
    """``answer``, unless it tells of an error: then NotFoundException or HttpException."""
    if answer.status_code == 404:
        raise NotFoundException("no such container")
    if answer.status_code >= 400:
        raise HttpException(f"{answer.status_code} {answer.text[:200]}", response=answer)
    return answer


def _headers(values: Values) -> dict[str, str]:
    headers = {header: values[name] for name, header in _HEADERS.items() if values.get(name)}
    headers |= {f"{_META}{name}": value for name, value in (values.get("metadata") or {}).items()}
    if values.get("versioning"):
        headers["X-Versions-Enabled"] = "true"
    return headers


def _create(connection: Connection, wanted: Values) -> Values:
    if wanted.get("versioning_legacy"):
        raise ProviderError("versioning_legacy: the stand-in provider does not build this")
    headers = _headers(wanted)
    if wanted.get("storage_policy"):
        headers["X-Storage-Policy"] = wanted["storage_policy"]
    _checked(connection.object_store.put(_path(wanted["name"]), headers=headers))
    return {"id": wanted["name"]}


def _read(connection: Connection, state: Values) -> Values:
    seen = _checked(connection.object_store.head(_path(state["id"]))).headers
    return {
        "name": state["id"],
        "container_read": seen.get("X-Container-Read", ""),
        "container_write": seen.get("X-Container-Write", ""),
        "versioning": seen.get("X-Versions-Enabled", "").lower() == "true",
        "storage_policy": seen.get("X-Storage-Policy", ""),
    }


def _update(connection: Connection, before: Values, after: Values) -> None:
    headers = _headers(after)
    for name, header in _HEADERS.items():
        if before.get(name) and not after.get(name):
            headers[header] = ""
    for name in (before.get("metadata") or {}).keys() - (after.get("metadata") or {}).keys():
        headers[f"{_META}{name}"] = ""
    if before.get("versioning") and not after.get("versioning"):
        headers["X-Versions-Enabled"] = "false"
    _checked(connection.object_store.post(_path(before["id"]), headers=headers))


def _delete(connection: Connection, state: Values) -> None:
    path = _path(state["id"])
    if state.get("force_destroy"):
        while names := connection.object_store.get(f"{path}?format=json").json():
            for one in names:
                _checked(connection.object_store.delete(f"{path}/{quote(one['name'])}"))
    answer = connection.object_store.delete(path)
    if answer.status_code == 409:
        raise ProviderError(f"container {state['id']} is not empty; force_destroy would delete what is in it")
    _checked(answer)


SERVICE = Service(
    {
        "objectstorage_container_v1": Resource(
            Facts(
                replaces="storage_policy",
                defaults={"versioning": False, "force_destroy": False},
                conflicts=("versioning versioning_legacy",),
            ),
            _create,
            _read,
            _delete,
            _update,
        )
    }
)
