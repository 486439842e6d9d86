# SPDX-License-Identifier: AGPL-3.0-or-later
"""How others hear: the messages that parts send each other.

Two fanout exchanges are Ubuntu's autopkgtest-cloud's, kept to the letter for its readers:
``teststatus.fanout`` (`StatusMessage`, every 10 s of a run) and ``testcomplete.fanout``
(`CompletionMessage`, once a run). The topic exchange ``testyard.events`` is ours (`Event`): it
tells each step of each request, with routing key ``<kind>.<request id>``.

A private run has no completion message, and shows in the others nothing of what it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from testyard.errors import ResultError
from testyard.jsonobject import parse_object
from testyard.run import PhaseTime, unix_time
from testyard.store import RunPath, is_results_container

STATUS_EXCHANGE = "teststatus.fanout"
COMPLETION_EXCHANGE = "testcomplete.fanout"
EVENTS_EXCHANGE = "testyard.events"

PRIVATE_PACKAGE = "private-test"
PRIVATE_LOG = "Running private test"


class EventKind(StrEnum):
    """The steps of a request."""

    ACCEPTED = "accepted"
    TAKEN = "taken"
    PHASE = "phase"
    LOG = "log"
    STORED = "stored"
    RETURNED = "returned"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    MOVED = "moved"


@dataclass(frozen=True)
class Event:
    """One step. ``time`` is Unix time; ``data`` depends on the kind (docs/messages.md)."""

    kind: EventKind
    request_id: str
    queue: str
    package: str
    time: float = field(default_factory=time.time)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def routing_key(self) -> str:
        """``<kind>.<request id>``."""
        return f"{self.kind}.{self.request_id}"

    def to_bytes(self) -> bytes:
        """JSON, UTF-8."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Event:
        """Read one; raises ResultError naming what is wrong."""
        value = _object(body)
        try:
            data = value.get("data", {})
            kind = EventKind(value["kind"])
            _check_data(kind, data)
            return cls(
                kind=kind,
                request_id=str(value["request_id"]),
                queue=str(value["queue"]),
                package=str(value["package"]),
                time=unix_time(value["time"]),
                data=data,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ResultError(f"event: {error!r}") from error


def _check_data(kind: EventKind, data: Any) -> None:
    """Raises ResultError, TypeError or ValueError if a reader of such events could not use ``data``."""
    if not isinstance(data, dict) or not isinstance(data.get("parameters", {}), dict):
        raise TypeError("data and its parameters are objects")
    if kind is EventKind.PHASE:
        PhaseTime.from_json(data)
    if kind is EventKind.LOG:
        start, end = data.get("start"), data.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start <= end < 2**31:
            raise TypeError("a log event has the place where it starts and ends")
        if not isinstance(data.get("text"), str):
            raise TypeError("a log event has a text")
    if kind is EventKind.STORED and data.get("path") is not None:
        RunPath.parse(str(data["path"]))
        if not is_results_container(str(data.get("container"))):
            raise ValueError("a run is stored in no such container")


@dataclass(frozen=True)
class StatusMessage:
    """What runs now. ``duration`` is in seconds since the start; ``params`` the request's object."""

    release: str
    architecture: str
    package: str
    running: bool
    params: Mapping[str, Any]
    duration: int
    logtail: str
    uuid: str | None = None

    def to_bytes(self) -> bytes:
        """JSON, UTF-8."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class CompletionMessage:
    """A run is stored. ``swift_dir`` has five parts; ``env`` is ``key=value`` joined by comma.

    ``uuid`` is the request's id, a key that the older system carried too from 2024 to 2025.
    """

    release: str
    architecture: str
    package: str
    container: str
    swift_dir: str
    exitcode: int
    duration: int
    testpkg_version: str
    requester: str | None = None
    triggers: str | None = None
    env: str = ""
    uuid: str | None = None

    def to_bytes(self) -> bytes:
        """JSON, UTF-8. ``duration`` is a string with LF, as the older system sends it."""
        value = asdict(self)
        value["duration"] = f"{self.duration}\n"
        return json.dumps(value).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> CompletionMessage:
        """Read one, also an older system's; raises ResultError naming the key that is wrong."""
        value = _object(body)
        missing = [key for key in ("release", "architecture", "package", "container") if key not in value]
        if missing:
            raise ResultError(f"completion message: no key {', '.join(missing)}")
        try:
            return cls(
                release=str(value["release"]),
                architecture=str(value["architecture"]),
                package=str(value["package"]),
                container=str(value["container"]),
                swift_dir=str(value.get("swift_dir") or ""),
                exitcode=int(value.get("exitcode", 20)),
                duration=int(str(value.get("duration") or 0).strip() or 0),
                testpkg_version=str(value.get("testpkg_version") or "").strip(),
                requester=_stripped(value.get("requester")),
                triggers=_stripped(value.get("triggers")),
                env=str(value.get("env") or ""),
                uuid=_stripped(value.get("uuid")),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ResultError(f"completion message: {error}") from error

    @property
    def path(self) -> RunPath:
        """Where the run is kept. Raises ResultError if ``swift_dir`` is malformed."""
        return RunPath.parse(self.swift_dir)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except ValueError as error:
        raise ResultError(f"message: no JSON object: {error}") from error


def _stripped(value: object) -> str | None:
    return None if value is None else str(value).strip() or None
