# SPDX-License-Identifier: AGPL-3.0-or-later
"""Telling a worker what to do, and hearing how it is: two objects of each worker in the store.

``control/<worker>`` holds what was ordered, by people or by the worker itself, so that it outlives the
worker; ``workers/<worker>`` what the worker says of itself each half minute. Both are beside the
claims, which nobody but workers and operators may read.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote

from testyard.errors import ResultError
from testyard.jsonobject import parse_object
from testyard.ports import Store
from testyard.store import CLAIMS

#: Stands for all hosts of a worker; no host can have this name.
ALL_HOSTS = "*"
#: Seconds after which a worker that says nothing more is forgotten.
_FORGET = 7 * 86400
#: Seconds between two reports of a worker, and after which a silent one is thought to be gone.
REPORT_EVERY = 30.0
GONE_AFTER = 100.0


@dataclass(frozen=True)
class Orders:
    """What a worker is to do. ``drained``: why, by host; ``reload``: another text asks for a reload."""

    drained: Mapping[str, str] = field(default_factory=dict)
    reload: str = ""

    def reason(self, host: str) -> str:
        """Why a host is drained; empty if it is not."""
        return self.drained.get(ALL_HOSTS) or self.drained.get(host, "")


@dataclass(frozen=True)
class HostReport:
    """A host as its worker sees it. ``drained`` is the reason, empty if it is not."""

    name: str
    testbed: str
    slots: int
    busy: int
    drained: str
    architectures: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerReport:
    """A worker as it sees itself.

    ``started`` and ``said`` are Unix times; ``reload`` is the last order to reload that it has carried
    out, ``problem`` why that did not work.
    """

    name: str
    version: str
    machine: str
    started: float
    hosts: tuple[HostReport, ...]
    work_dir: str = ""
    leaving: bool = False
    reload: str = ""
    problem: str = ""
    said: float = field(default_factory=time.time)

    @property
    def gone(self) -> bool:
        """True if it has said nothing for long."""
        return time.time() - self.said > GONE_AFTER

    @property
    def due(self) -> bool:
        """True if the next report is due."""
        return time.time() - self.said > REPORT_EVERY


def orders(store: Store, worker: str) -> Orders:
    """What was ordered of a worker. Raises StoreError; ResultError if it cannot be read."""
    value = _read(store, f"control/{_quoted(worker)}")
    if value is None:
        return Orders()
    drained = value.get("drained")
    if not isinstance(drained, dict) or not all(isinstance(reason, str) for reason in drained.values()):
        raise ResultError(f"orders of worker {worker}: drained is no table of hosts and reasons")
    return Orders(drained, str(value.get("reload", "")))


def drain(store: Store, worker: str, host: str, reason: str) -> None:
    """No run is to begin on a host, or on all; what runs goes on. Raises StoreError, ResultError."""
    found = orders(store, worker)
    _order(store, worker, replace(found, drained={**found.drained, host: reason}))


def resume(store: Store, said: WorkerReport, host: str) -> None:
    """Runs may begin again on a host, or on all. Raises StoreError, ResultError."""
    found = orders(store, said.name)
    drained = {one.name: reason for one in said.hosts if (reason := found.reason(one.name))}
    left = {name: reason for name, reason in drained.items() if host not in (name, ALL_HOSTS)}
    _order(store, said.name, replace(found, drained=left))


def reload(store: Store, worker: str) -> str:
    """Ask for the settings to be read again; returns what `WorkerReport.reload` will say then.

    Raises StoreError, ResultError.
    """
    token = secrets.token_hex(8)
    _order(store, worker, replace(orders(store, worker), reload=token))
    return token


def report(store: Store, said: WorkerReport) -> None:
    """Say how a worker is. Raises StoreError."""
    body = json.dumps(asdict(said)).encode()
    store.ensure_container(CLAIMS)
    name = f"workers/{_quoted(said.name)}"
    store.put(CLAIMS, name, body, content_type="application/json", expire_after=_FORGET)


def workers(store: Store) -> tuple[WorkerReport, ...]:
    """All workers that said something within a week, by name. Raises StoreError."""
    found = (_report(_read(store, name)) for name in store.names(CLAIMS, prefix="workers/"))
    return tuple(one for one in found if one is not None)


def _order(store: Store, worker: str, ordered: Orders) -> None:
    body = json.dumps({"drained": dict(ordered.drained), "reload": ordered.reload}).encode()
    store.ensure_container(CLAIMS)
    store.put(CLAIMS, f"control/{_quoted(worker)}", body, content_type="application/json")


def _read(store: Store, name: str) -> dict[str, Any] | None:
    body = store.get(CLAIMS, name)
    if body is None:
        return None
    try:
        return parse_object(body.decode())
    except ValueError as error:
        raise ResultError(f"{name}: no JSON object") from error


def _report(value: dict[str, Any] | None) -> WorkerReport | None:
    """None for what a worker of another version may have written."""
    try:
        if value is None:
            return None
        hosts = tuple(_host(host) for host in value.pop("hosts"))
        return WorkerReport(hosts=hosts, **value)
    except (TypeError, KeyError):
        return None


def _host(value: dict[str, Any]) -> HostReport:
    architectures, releases = value.pop("architectures"), value.pop("releases")
    return HostReport(architectures=tuple(architectures), releases=tuple(releases), **value)


def _quoted(worker: str) -> str:
    return quote(worker, safe="")
