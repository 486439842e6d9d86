# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests by AMQP of clients that tell nobody of them, such as migration software, are known at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.integration.spectators import Stage
from tests.integration.yard import Yard
from tests.servers import Rabbit, Swift
from testyard.adapters.deadletters import dead_letters
from testyard.index import RequestState, open_index, read
from testyard.local.ports import LOOPBACK
from testyard.local.state import BROKER_USER, VHOST
from testyard.queue import DEAD_LETTERS
from testyard.request import make_request, new_request_id

BRITNEY = Path(__file__).with_name("britney.py")


@pytest.fixture
def stage(yard: Yard, store_node: Swift) -> Iterator[Stage]:
    """The yard's status function and site."""
    made = Stage(yard, store_node.public_url)
    yard.channel.queue_purge(DEAD_LETTERS)
    made.start("status")
    made.listens()
    yield made
    made.close()


@pytest.fixture
def engine(stage: Stage) -> Iterator[Engine]:
    found = open_index(stage.database)
    yield found
    found.dispose()


def amqplib_sends(rabbit: Rabbit, queue: str, *bodies: bytes) -> None:
    """As britney does: no declaration, no confirm."""
    lines = [rabbit.state.secrets["broker_password"], *(body.hex() for body in bodies)]
    address = f"{LOOPBACK}:{rabbit.state.ports['broker']}"
    subprocess.run(
        ["/usr/bin/python3", str(BRITNEY), address, BROKER_USER, VHOST, queue],
        input="\n".join(lines),
        text=True,
        check=True,
        timeout=30,
    )


def britney_body(number: int) -> bytes:
    """One blank or LF, own trigger first, naive time."""
    value = {"triggers": [f"ty-pass/{number}"], "submit-time": f"2026-11-21 15:00:0{number}.123456"}
    return f"ty-pass\n{json.dumps(value)}".encode()


def rows(engine: Engine, *states: RequestState) -> list[Any]:
    with engine.connect() as connection:
        return list(read.requests_in(connection, states or tuple(RequestState)))


def test_migration_software_is_served_and_seen(
    broker_node: Rabbit, yard: Yard, stage: Stage, engine: Engine
) -> None:
    amqplib_sends(broker_node, str(yard.queue), britney_body(1), britney_body(2))
    yard.wait(lambda: len(rows(engine, RequestState.QUEUED)) == 2, "both are shown as waiting")
    assert yard.waiting() == 2  # nothing was taken to look at it
    shown = rows(engine, RequestState.QUEUED)
    assert {row.parameters["triggers"][0] for row in shown} == {"ty-pass/1", "ty-pass/2"}
    assert {row.queue for row in shown} == {str(yard.queue)}
    stage.start("web")
    page = httpx.get(f"{stage.url}/requests/{shown[0].request_id}.json", trust_env=False).json()
    assert page["state"] == "queued"
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 2, "both have run")
    yard.wait(lambda: len(rows(engine, RequestState.DONE)) == 2, "both are done")
    done = rows(engine)
    assert len(done) == 2  # what was shown as waiting is the same request
    claimed = {result.request_id for result in yard.results()}
    assert {row.request_id for row in done} == claimed
    assert all(row.accepted is not None and row.accepted < row.taken for row in done)
    with engine.connect() as connection:  # who has the address of before is led on
        found = read.find_request(connection, shown[0].request_id)
    assert found is not None
    assert found.parameters["triggers"] == shown[0].parameters["triggers"]


def test_a_body_with_an_id_keeps_it_and_equal_ones_are_told_apart(
    broker_node: Rabbit, yard: Yard, engine: Engine
) -> None:
    request_id = new_request_id()
    with_id = make_request("ty-pass", {"triggers": [], "uuid": request_id}).body()
    private = make_request("ty-pass", {"readable-by": ["jane"]}).body()
    amqplib_sends(
        broker_node, str(yard.queue), with_id, britney_body(1), britney_body(1), private, b"../no package"
    )
    yard.wait(lambda: len(rows(engine)) == 3, "what can be told is shown")
    assert request_id in {row.request_id for row in rows(engine)}
    yard.worker()
    yard.wait(lambda: yard.waiting() == 0 and len(rows(engine, RequestState.DONE)) == 4, "all have ended")
    assert rows(engine, RequestState.QUEUED, RequestState.RUNNING) == []
    assert len(rows(engine)) == 4  # the private one, too


def test_what_went_to_no_queue_is_not_lost(broker_node: Rabbit, yard: Yard, engine: Engine) -> None:
    queue = f"debci-nosuch-{yard.architecture}"
    amqplib_sends(broker_node, queue, britney_body(7))
    yard.wait(lambda: dead_letters(broker_node.url), "it is among the dead letters")
    (letter,) = dead_letters(broker_node.url)
    assert (letter.queue, letter.body) == (queue, britney_body(7))
    assert letter.reason == f"queue: there is no {queue}: nobody could take this"
    assert rows(engine) == []
