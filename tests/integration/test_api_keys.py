# SPDX-License-Identifier: AGPL-3.0-or-later
"""Idempotency-Key: a call that is repeated does nothing again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from httpx import Response
from sqlalchemy import update

from tests.api import Api, api
from tests.conftest import NewIndex
from tests.integration.asking import ASK, ask, bodies, ids, problem, tell
from tests.servers import Rabbit
from testyard.event import EventKind
from testyard.intake.schema import answered


@pytest.fixture
def yard(broker: Rabbit, new_index: NewIndex) -> Iterator[Api]:
    with api(broker, new_index()) as found:
        yield found


@pytest.fixture
def bot(yard: Api) -> dict[str, str]:
    return yard.token()


def test_a_key_makes_a_call_safe_to_repeat(yard: Api, bot: dict[str, str], broker: Rabbit) -> None:
    forced = {**ASK, "force": True}
    first = ask(yard, bot, forced, Idempotency_Key="a")
    again = ask(yard, bot, forced, Idempotency_Key="a")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(ask(yard, bot, ASK, Idempotency_Key="a"), 422, "key-reused")
    other = ask(yard, yard.token("operator/other"), forced, Idempotency_Key="a")
    assert ids(other) != ids(first)
    assert len(bodies(broker)) == 2
    quoted = ask(yard, bot, forced, Idempotency_Key='"a"')
    assert ids(quoted) == ids(first)
    for key in ("", "x" * 256, "\x7f", "a b", '"', '"a"b', "a\t"):
        problem(ask(yard, bot, ASK, Idempotency_Key=key), 422, "invalid")


def test_a_retry_has_a_key_too(yard: Api, bot: dict[str, str]) -> None:
    (request_id,) = ids(ask(yard, bot))
    tell(yard, EventKind.CANCELLED, request_id, reason="")
    key, address = {**bot, "Idempotency-Key": "r"}, f"/api/v1/retry/{request_id}"
    first, again = (yard.client.post(address, headers=key) for _ in range(2))
    assert (first.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(yard.client.post(f"/api/v1/retry/{ids(first)[0]}", headers=key), 422, "key-reused")
    problem(yard.client.post(address, headers={**bot, "Idempotency-Key": "a b"}), 422, "invalid")


def test_a_refused_call_leaves_its_key_free(yard: Api, bot: dict[str, str]) -> None:
    problem(ask(yard, bot, {"package": "gzip", "release": "sid"}, Idempotency_Key="k"), 422, "invalid")
    assert ask(yard, bot, ASK, Idempotency_Key="k").status_code == 202


def test_a_key_whose_copy_was_killed(yard: Api, bot: dict[str, str], broker: Rabbit) -> None:
    forced = {**ASK, "force": True}
    first = ask(yard, bot, forced, Idempotency_Key="k")
    with yard.memory.begin() as connection:  # as it is while a copy works on it, and was then killed
        connection.execute(update(answered).values(answer={"begun": 1.0}))
    again = ask(yard, bot, forced, Idempotency_Key="k")
    assert ids(again) == ids(first)
    assert len(bodies(broker)) == 1


def test_equal_calls_at_once_make_one_request(yard: Api, bot: dict[str, str], broker: Rabbit) -> None:
    gate = threading.Barrier(6)

    def one(_number: int) -> Response:
        gate.wait(20)
        return ask(yard, bot, {**ASK, "force": True}, Idempotency_Key="k")

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(one, range(6)))
    assert {response.status_code for response in found} == {202}
    assert len({tuple(ids(response)) for response in found}) == 1
    assert len(bodies(broker)) == 1
