# SPDX-License-Identifier: AGPL-3.0-or-later
"""Status and completion messages: their exact keys and types."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.golden import load
from testyard import event
from testyard.adapters import amqp
from testyard.event import CompletionMessage, StatusMessage
from testyard.queue import CONTEXTS, QueueName

STATUS_KEYS = {"release", "architecture", "package", "running", "params", "duration", "logtail"}
COMPLETION_KEYS = {
    "architecture",
    "release",
    "package",
    "container",
    "duration",
    "exitcode",
    "testpkg_version",
    "requester",
    "swift_dir",
    "triggers",
    "env",
}


def test_status() -> None:
    golden = load("status.json")
    message = StatusMessage(
        release="noble",
        architecture="amd64",
        package="demo",
        running=True,
        params={"triggers": ["alpha/1"]},
        duration=12,
        logtail="first line\nlast line\n",
        uuid="11112222-3333-4444-8555-666677778888",
    )
    assert json.loads(message.to_bytes()) == golden
    assert set(golden) == STATUS_KEYS | {"uuid"}
    assert type(golden["duration"]) is int


def test_completion() -> None:
    golden = load("completion.json")
    message = CompletionMessage(
        release="noble",
        architecture="amd64",
        package="demo",
        container="autopkgtest-noble",
        swift_dir="noble/amd64/d/demo/20260105_101500_0a1b2@",
        exitcode=0,
        duration=22,
        testpkg_version="1.2-3",
        requester="some-user",
        triggers="alpha/1.0-1 beta/2",
        env="all-proposed=1,testname=smoke",
        uuid="11112222-3333-4444-8555-666677778888",
    )
    assert json.loads(message.to_bytes()) == golden
    assert CompletionMessage.from_bytes(json.dumps(golden).encode()) == message
    assert set(golden) == COMPLETION_KEYS | {"uuid"}
    assert golden["duration"] == "22\n"
    assert len(golden["swift_dir"].split("/")) == 5


@pytest.mark.parametrize("case", load("completion-older.json"))
def test_completion_of_an_older_system(case: dict[str, Any]) -> None:
    assert set(case["message"]) - {"uuid"} == COMPLETION_KEYS
    message = CompletionMessage.from_bytes(json.dumps(case["message"]).encode())
    assert {key: getattr(message, key) for key in case["read"]} == case["read"]
    assert str(message.path) == case["message"]["swift_dir"]


def test_names_on_the_broker() -> None:
    assert event.STATUS_EXCHANGE == "teststatus.fanout"
    assert event.COMPLETION_EXCHANGE == "testcomplete.fanout"
    assert {"ubuntu", "huge", "ppa", "upstream"} <= set(CONTEXTS)
    ours = {amqp.INDEX_QUEUE, amqp.STATUS_QUEUE, amqp.DEAD_LETTERS}
    assert all(name.startswith("testyard-") for name in ours)  # none that the older system's parts declare


@pytest.mark.parametrize(
    ("context", "release", "architecture", "name"),
    [
        ("ubuntu", "noble", "amd64", "debci-noble-amd64"),
        ("huge", "noble", "i386", "debci-huge-noble-i386"),
        ("ppa", "noble", "ppc64el", "debci-ppa-noble-ppc64el"),
        ("upstream", "noble", "riscv64", "debci-upstream-noble-riscv64"),
    ],
)
def test_queue_names(context: str, release: str, architecture: str, name: str) -> None:
    assert str(QueueName(context, release, architecture)) == name
    fields = name.split("-")  # as the older worker takes them apart
    assert (fields[1:3] if len(fields) == 3 else fields[2:4]) == [release, architecture]
