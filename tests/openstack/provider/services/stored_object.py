# SPDX-License-Identifier: AGPL-3.0-or-later
"""Objects of the object store whose content stands in the configuration."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from openstack.connection import Connection
from openstack.exceptions import HttpException, NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import ProviderError, Resource, Service
from tests.openstack.provider.values import Values

_META = "X-Object-Meta-"


def _path(id_: str) -> str:
    return f"/{quote(id_)}"


def _checked(answer: Any) -> Any:
    """``answer``, unless it tells of an error: then NotFoundException or HttpException."""
    if answer.status_code == 404:
        raise NotFoundException("no such object or container")
    if answer.status_code >= 400:
        raise HttpException(f"{answer.status_code} {answer.text[:200]}", response=answer)
    return answer


def _put(connection: Connection, wanted: Values, id_: str) -> None:
    for name in ("source", "copy_from", "object_manifest"):
        if wanted.get(name):
            raise ProviderError(f"{name}: the stand-in provider builds objects from content only")
    headers = {f"{_META}{name}": value for name, value in (wanted.get("metadata") or {}).items()}
    if wanted.get("content_type"):
        headers["Content-Type"] = wanted["content_type"]
    body = (wanted.get("content") or "").encode()
    _checked(connection.object_store.put(_path(id_), data=body, headers=headers))


def _create(connection: Connection, wanted: Values) -> Values:
    id_ = f"{wanted['container_name']}/{wanted['name']}"
    _put(connection, wanted, id_)
    return {"id": id_}


def _read(connection: Connection, state: Values) -> Values:
    seen = _checked(connection.object_store.head(_path(state["id"]))).headers
    container, _, name = state["id"].partition("/")
    return {
        "container_name": container,
        "name": name,
        "content_type": seen.get("Content-Type", ""),
        "content_length": int(seen.get("Content-Length", 0)),
        "etag": seen.get("ETag", ""),
        "last_modified": seen.get("Last-Modified", ""),
        "date": seen.get("Date", ""),
        "trans_id": seen.get("X-Trans-Id", ""),
    }


def _update(connection: Connection, before: Values, after: Values) -> None:
    _put(connection, after, before["id"])


def _delete(connection: Connection, state: Values) -> None:
    _checked(connection.object_store.delete(_path(state["id"])))


SERVICE = Service(
    {
        "objectstorage_object_v1": Resource(
            Facts(
                replaces="container_name name",
                defaults={"detect_content_type": False},
                conflicts=("content source copy_from object_manifest",),
            ),
            _create,
            _read,
            _delete,
            _update,
        )
    }
)
