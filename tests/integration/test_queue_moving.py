# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests are moved while workers go on, and by movers that are killed: each has one result."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.faults.gates import Gate, StoreGate, Trap, opened
from tests.integration.caring import cli, queued, start_cli, states, urgent_of, waits
from tests.integration.spectators import Stage
from tests.integration.yard import Yard
from tests.servers import Swift
from testyard.adapters.amqp import Publisher
from testyard.moving import mark_sent, order_move
from testyard.queue import QueueName
from testyard.request import make_request, new_request_id


def body_of(number: int, request_id: str) -> bytes:
    return make_request("ty-pass", {"triggers": [f"ty-pass/{number}"], "uuid": request_id}).body()


def send(yard: Yard, engine: Engine, count: int) -> list[str]:
    """Requests that wait and are known; gives their ids."""
    ids = [new_request_id() for _ in range(count)]
    for number, request_id in enumerate(ids):
        yard.publish(body_of(number, request_id))
    yard.wait(lambda: len(queued(engine)) == count, "all are known")
    return ids


def one_each(yard: Yard, count: int) -> None:
    """Wait until all have run; each once."""
    urgent = urgent_of(yard)
    yard.wait(lambda: len(yard.results()) >= count, "all have run", 60)
    yard.wait(lambda: yard.waiting() == 0 and waits(yard, urgent) == 0, "nothing waits")
    ran = Counter(result.triggers[0] for result in yard.results())
    assert ran == {f"ty-pass/{number}": 1 for number in range(count)}


def test_what_is_moved_runs_first_and_once(yard: Yard, engine: Engine) -> None:
    ids = send(yard, engine, 3)
    assert "1 moved to urgent." in cli(yard, "queue", "urgent", "--trigger", "ty-pass/2")
    yard.wait(lambda: waits(yard, urgent_of(yard)) == 1, "it is there")

    def listed() -> list[str]:
        shown = json.loads(cli(yard, "queue", "list", "--context", "urgent", "--json"))
        return [row["request_id"] for row in shown["requests"]]

    yard.wait(lambda: listed() == [ids[2]], "it is shown where it waits")
    yard.worker()
    one_each(yard, 3)
    yard.wait(lambda: set(states(engine).values()) == {"done"}, "all are done")
    taken = [event["request_id"] for event in yard.events("taken")]
    assert taken[0] == ids[2]
    assert sorted(taken) == sorted(ids)
    assert yard.events("cancelled") == []
    assert "waits no more" not in yard.log


@pytest.mark.long
def test_what_is_moved_back_and_what_was_taken(yard: Yard, engine: Engine) -> None:
    first, second = send(yard, engine, 2)
    cli(yard, "queue", "urgent", first)
    yard.wait(lambda: "1 moved to ubuntu." in cli(yard, "queue", "move", first, "--to", "ubuntu"), "back")
    yard.settings["topology"]["contexts"] = ["ubuntu"]  # nobody serves urgent now
    worker = yard.worker()
    yard.wait(lambda: len(yard.results()) == 2 and yard.waiting() == 0, "both have run")
    yard.drain(worker)
    yard.settings["topology"]["contexts"] = ["ubuntu", "urgent"]
    yard.worker()
    one_each(yard, 2)
    assert "Nothing that is known waits" in cli(yard, "queue", "urgent", second)


def test_the_same_id_in_another_queue_is_another_request(yard: Yard, engine: Engine) -> None:
    (request_id,) = send(yard, engine, 1)
    other = QueueName("huge", "sample", yard.architecture)
    yard.channel.queue_declare(str(other), durable=True)
    yard.settings["topology"]["contexts"] = ["ubuntu", "urgent", "huge"]
    cli(yard, "queue", "urgent", request_id)
    yard.channel.basic_publish("", str(other), body_of(7, request_id))
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 2 and waits(yard, other) == 0, "both have run")
    assert {result.triggers[0] for result in yard.results()} == {"ty-pass/0", "ty-pass/7"}
    yard.channel.queue_delete(str(other))


@dataclass(frozen=True)
class Step:
    """Where a process is killed: after ``name`` has come by the gate, or before it may pass."""

    name: str
    after: bool


@contextmanager
def gate(yard: Yard, swift: Swift) -> Iterator[Gate]:
    """What is started inside reaches the store through this."""
    store = StoreGate(swift.state.ports["store"])
    before = yard.settings["store"]["auth_url"]
    with opened(store):
        yard.settings["store"]["auth_url"] = f"http://127.0.0.1:{store.port}/auth/v1.0"
        try:
            yield store
        finally:
            yard.settings["store"]["auth_url"] = before


@contextmanager
def killed_at(step: Step, yard: Yard, swift: Swift) -> Iterator[list[subprocess.Popen[Any]]]:
    """What is started inside and put into the list is killed at the step, which is not passed on."""
    doomed: list[subprocess.Popen[Any]] = []
    done = threading.Event()

    def kill() -> None:
        for process in doomed:
            process.kill()
        done.set()
        raise ConnectionAbortedError("so it goes no further")

    with gate(yard, swift) as found:
        found.trap = Trap(step.name, kill, step.after)
        yield doomed
        assert done.wait(40), f"{step}: {found.steps}"
        for process in doomed:
            process.communicate(timeout=20)


@pytest.mark.parametrize("old_first", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_mover_killed_at_any_step_leaves_one_request(
    store_node: Swift, yard: Yard, engine: Engine, old_first: bool
) -> None:
    urgent = urgent_of(yard)
    steps = (
        Step("GET claim", after=True),
        Step(f"PUT {yard.queue}", after=True),
        Step("PUT sent-", after=False),
        Step("PUT sent-", after=True),
    )
    ids = send(yard, engine, len(steps) + 1)
    for request_id, step in zip(ids, steps, strict=False):
        with killed_at(step, yard, store_node) as doomed:
            doomed.append(start_cli(yard, "queue", "urgent", request_id))
    cli(yard, "queue", "urgent", ids[-1])
    assert yard.waiting() == len(steps) + 1  # nothing was taken out
    yard.wait(lambda: waits(yard, urgent) == 3, "published, marked, and the whole of it")
    if old_first:  # a worker for the old queue only, which is killed when it has moved one itself
        yard.settings["topology"]["contexts"] = ["ubuntu"]
        with killed_at(Step("PUT sent-", after=False), yard, store_node) as doomed:
            doomed.append(yard.worker())
        first = yard.worker()
        yard.wait(lambda: yard.waiting() == 0 and len(yard.results()) == 1, "the old ones are met")
        yard.drain(first)
        yard.settings["topology"]["contexts"] = ["ubuntu", "urgent"]
    yard.worker()
    one_each(yard, len(steps) + 1)
    assert yard.events("cancelled") == []


def test_one_that_is_taken_as_it_is_moved_is_one_request(yard: Yard, stage: Stage) -> None:
    yard.settings["worker"]["slots"] = 2
    home, request_id = urgent_of(yard), new_request_id()
    body = make_request("ty-slow", {"triggers": [], "env": ["TY_SECONDS=3"], "uuid": request_id}).body()
    yard.publish(body)
    worker = yard.worker()
    yard.wait(lambda: yard.events("taken"), "it is taken")
    with Publisher(str(yard.settings["broker"]["url"])) as publisher:
        move = order_move(yard.store, request_id, home, str(yard.queue))
        publisher.publish_request(home, body, request_id, origin=str(yard.queue))
        mark_sent(yard.store, move)
    yard.wait(lambda: f"{request_id} has run already" in yard.log, "the other copy is met")
    yard.drain(worker)
    assert len(yard.results()) == 1
    assert len(yard.events("taken")) == 1
    assert waits(yard, home) == 0


def test_a_cancelled_one_stays_cancelled_wherever_it_is_moved(yard: Yard, engine: Engine) -> None:
    (request_id,) = send(yard, engine, 1)
    home = urgent_of(yard)
    with Publisher(str(yard.settings["broker"]["url"])) as publisher:
        cli(yard, "queue", "remove", request_id)
        # whoever wrote this had looked just before
        move = order_move(yard.store, request_id, home, str(yard.queue))
        publisher.publish_request(home, body_of(0, request_id), request_id, origin=str(yard.queue))
        mark_sent(yard.store, move)
    yard.worker()
    yard.wait(lambda: yard.waiting() == 0 and waits(yard, home) == 0, "nothing waits")
    yard.wait(lambda: states(engine) == {request_id: "cancelled"}, "it is cancelled")
    assert yard.results() == []
    assert yard.events("taken") == []
