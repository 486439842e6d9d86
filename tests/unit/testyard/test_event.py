# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages between the parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testyard.errors import ResultError
from testyard.event import CompletionMessage, Event, EventKind, StatusMessage

ID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"
PATH = "noble/amd64/g/gzip/20260105_120000_abcde@"
DATA: dict[EventKind, dict[str, Any]] = {
    EventKind.ACCEPTED: {"parameters": {"triggers": ["a1/1"]}},
    EventKind.TAKEN: {"worker": "w1", "parameters": {}},
    EventKind.PHASE: {"phase": "test", "started": 5.0, "seconds": None, "test": "ä"},
    EventKind.LOG: {"text": "line\n", "start": 0, "end": 5},
    EventKind.STORED: {"container": "autopkgtest-noble", "path": PATH, "exit_code": 0},
    EventKind.RETURNED: {"reason": "stopped"},
    EventKind.REJECTED: {"reason": "package: bad"},
    EventKind.CANCELLED: {"reason": "by ann"},
    EventKind.MOVED: {"from": "debci-huge-noble-amd64"},
}


@pytest.mark.parametrize("kind", EventKind)
def test_events_both_ways(kind: EventKind) -> None:
    event = Event(kind, ID, "debci-noble-amd64", "gzip", time=12.5, data=DATA[kind])
    assert event.routing_key == f"{kind.value}.{ID}"
    assert Event.from_bytes(event.to_bytes()) == event


def test_a_private_run_is_stored_nowhere() -> None:
    event = Event(EventKind.STORED, ID, "debci-noble-amd64", "private-test", time=1.0)
    assert Event.from_bytes(event.to_bytes()) == event


BASE = {"kind": "returned", "request_id": ID, "queue": "q", "package": "p", "time": 1, "data": {}}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "nosuch"},
        {"kind": None},
        {"time": "x"},
        {"time": None},
        {"time": -1},
        {"time": 1e300},
        {"time": 10**400},
        {"data": []},
        {"data": {"parameters": [1]}},
        {"kind": "phase", "data": {}},
        {"kind": "phase", "data": {"phase": "build", "started": "x"}},
        {"kind": "log", "data": {}},
        {"kind": "log", "data": {"text": "x", "end": 5}},
        {"kind": "log", "data": {"text": "x", "start": 6, "end": 5}},
        {"kind": "log", "data": {"text": "x", "start": 0, "end": "5"}},
        {"kind": "log", "data": {"text": "x", "start": 0, "end": True}},
        {"kind": "log", "data": {"text": "x", "start": -1, "end": 5}},
        {"kind": "log", "data": {"text": "x", "start": 0, "end": 2**31}},
        {"kind": "log", "data": {"text": 1, "start": 0, "end": 5}},
        {"kind": "stored", "data": {"container": "autopkgtest-noble", "path": "../x"}},
        {"kind": "stored", "data": {"container": "testyard-claims", "path": PATH}},
        {"kind": "stored", "data": {"path": PATH}},
        {"kind": "stored", "data": {"container": {}, "path": PATH}},
    ],
)
def test_what_is_no_event(changes: dict[str, Any]) -> None:
    Event.from_bytes(json.dumps(BASE).encode())
    with pytest.raises(ResultError):
        Event.from_bytes(json.dumps({**BASE, **changes}).encode())


@pytest.mark.parametrize("key", ["kind", "request_id", "queue", "package", "time"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ResultError, match=key):
        Event.from_bytes(json.dumps({name: value for name, value in BASE.items() if name != key}).encode())


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"[]", b"null", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 100_000]
)
@pytest.mark.parametrize("read", [Event.from_bytes, CompletionMessage.from_bytes])
def test_what_is_no_message(read: Any, body: bytes) -> None:
    with pytest.raises(ResultError, match="no JSON object"):
        read(body)


def test_a_status_message() -> None:
    message = StatusMessage("noble", "amd64", "gzip", True, {"a": 1}, 12, "ä\n", ID)
    assert json.loads(message.to_bytes()) == {
        "release": "noble",
        "architecture": "amd64",
        "package": "gzip",
        "running": True,
        "params": {"a": 1},
        "duration": 12,
        "logtail": "ä\n",
        "uuid": ID,
    }


COMPLETION = CompletionMessage(
    release="noble",
    architecture="amd64",
    package="gzip",
    container="autopkgtest-noble",
    swift_dir=PATH,
    exitcode=0,
    duration=22,
    testpkg_version="1.12-1",
    requester="me",
    triggers="a1/1 b2/2",
    env="all-proposed=1,testname=x",
    uuid=ID,
)


def test_completion_both_ways() -> None:
    assert CompletionMessage.from_bytes(COMPLETION.to_bytes()) == COMPLETION
    assert str(COMPLETION.path) == PATH


@pytest.mark.parametrize("key", ["release", "architecture", "package", "container"])
def test_completion_needs(key: str) -> None:
    value = json.loads(COMPLETION.to_bytes())
    del value[key]
    with pytest.raises(ResultError, match=rf"no key {key}$"):
        CompletionMessage.from_bytes(json.dumps(value).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"exitcode": None},
        {"exitcode": "x"},
        {"exitcode": []},
        {"exitcode": 1e308 * 10},
        {"duration": "x"},
        {"duration": [1]},
    ],
)
def test_completion_with_wrong_values(changes: dict[str, Any]) -> None:
    body = json.dumps({**json.loads(COMPLETION.to_bytes()), **changes}).encode()
    with pytest.raises(ResultError):
        CompletionMessage.from_bytes(body)


@pytest.mark.parametrize("place", ["", "noble/amd64/g/gzip", "../../../../..", PATH + "/result.tar"])
def test_completion_without_a_place(place: str) -> None:
    message = CompletionMessage.from_bytes(
        json.dumps({**json.loads(COMPLETION.to_bytes()), "swift_dir": place}).encode()
    )
    with pytest.raises(ResultError):
        _ = message.path
