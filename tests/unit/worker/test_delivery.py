# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the broker hands over: the id, the time, and what can never work."""

from __future__ import annotations

import time
from typing import Any

import pytest

from testyard.arrival import ORIGIN_HEADER
from testyard.errors import RequestError
from worker.delivery import Delivery

ID = "0b0f7a1e-5a39-4c6e-9d53-3a4b6f0c2d11"
OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def delivery(body: bytes = b"gzip\n{}", queue: str = "debci-ppa-noble-amd64", **more: Any) -> Delivery:
    return Delivery(tag=1, line=1, queue=queue, body=body, **more)


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", "")])
def test_message_id_is_the_id_of_a_body_without_one(text: str) -> None:
    request, queue = delivery(message_id=text).read()
    assert request.uuid == ID
    assert (queue.context, queue.release, queue.architecture) == ("ppa", "noble", "amd64")


def test_the_bodys_own_id_wins() -> None:
    body = b'gzip\n{"uuid": "%s"}' % ID.encode()
    assert delivery(body, message_id=OTHER).read()[0].uuid == ID


@pytest.mark.parametrize("text", [None, "", "17", "../../x"])
def test_another_message_id_is_none(text: str | None) -> None:
    assert delivery(message_id=text).read()[0].uuid is None


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (b'gzip\n{"uuid": "%s", "env": 5}' % ID.encode(), ID),
        (b'../x {"uuid": "%s"}' % ID.encode(), ID),
        (b'gzip\n{"uuid": 5}', OTHER),
        (b"gzip\n{", OTHER),
        (b"\xff", OTHER),
        (b"", OTHER),
    ],
)
def test_the_id_of_what_can_never_work(body: bytes, known: str) -> None:
    assert delivery(body, message_id=OTHER).request_id == known


@pytest.mark.parametrize(
    ("body", "perhaps"),
    [
        (b'gzip\n{"env": 5}', False),
        (b"\xff", False),
        (b'gzip\n{"swiftuser": 5}', True),
        (b'gzip\n{"readable-by": ["me"', True),
        (rb'gzip {"sw\u0069ftuser": "me", "env": 5}', True),
    ],
)
def test_what_may_be_private_is_known_before_it_is_read(body: bytes, perhaps: bool) -> None:
    assert delivery(body).perhaps_private is perhaps


@pytest.mark.parametrize(
    ("body", "queue", "field"),
    [
        (b"../x\n{}", "debci-noble-amd64", "package"),
        (b"\xff", "debci-noble-amd64", "body"),
        (b'gzip\n{"ppas": ["a:b@c/d"]}', "debci-noble-amd64", "ppas"),
        (b'gzip\n{"test-bzr": "lp:gzip"}', "debci-noble-amd64", "test-bzr"),
        (b"gzip", "elsewhere", "queue"),
    ],
)
def test_what_can_never_work_names_its_field(body: bytes, queue: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        delivery(body, queue).read()
    assert caught.value.field == field


@pytest.mark.parametrize("headers", [None, {}, {"testyard-accepted": "soon"}, {"testyard-accepted": None}])
def test_no_time_of_acceptance(headers: dict[str, Any] | None) -> None:
    assert delivery(headers=headers).accepted is None


def test_time_of_acceptance() -> None:
    assert delivery(headers={"testyard-accepted": "1700000000.5"}).accepted == 1700000000.5
    ahead = delivery(headers={"testyard-accepted": str(time.time() + 9999)}).accepted
    assert ahead is not None
    assert ahead <= time.time()


@pytest.mark.parametrize("text", ["nan", "-5", "-inf", "inf"])
def test_a_time_that_is_none_is_left_out_or_now(text: str) -> None:
    """It would stand in the result as a phase that no reader takes."""
    accepted = delivery(headers={"testyard-accepted": text}).accepted
    assert accepted is None or 0 <= accepted <= time.time()


@pytest.mark.parametrize(
    ("named", "origin"),
    [
        ("debci-noble-amd64", "debci-noble-amd64"),
        ("debci-huge-noble-amd64", "debci-huge-noble-amd64"),
        ("debci-noble-arm64", "debci-ppa-noble-amd64"),  # the same request in another queue is another one
        ("../x", "debci-ppa-noble-amd64"),
        (17, "debci-ppa-noble-amd64"),
        (None, "debci-ppa-noble-amd64"),
    ],
)
def test_where_a_moved_one_came_from(named: object, origin: str) -> None:
    assert delivery(headers={ORIGIN_HEADER: named}).origin == origin
