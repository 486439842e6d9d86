# SPDX-License-Identifier: AGPL-3.0-or-later
"""The end of a request whose event was lost, found by the claims that a worker really writes."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine

from functions.index.claims import end_finished
from functions.index.removals import forget_removals
from tests.integration.functions.results import CONTAINER, ID, path_of, request
from testyard.adapters.swift import SwiftStore
from testyard.cancel import cancel
from testyard.event import Event, EventKind
from testyard.index import RequestState
from testyard.index.write import apply_event, set_queue_lengths
from testyard.moving import order_move
from testyard.queue import QueueName
from testyard.removal import Removal, all_removals, leave_removal
from testyard.request import TestRequest
from testyard.store import CLAIMS
from worker.claim import ClaimBook, ClaimState, identify

QUEUE = "debci-noble-amd64"
PATH = str(path_of(1))


def told(
    engine: Engine, *kinds: EventKind, request_id: str = ID, queue: str = QUEUE, ago: float = 90
) -> None:
    with engine.begin() as connection:
        for number, kind in enumerate(kinds):
            when = time.time() - ago + number
            apply_event(connection, Event(kind, request_id, queue, "private-test", when))


def claimed(
    store: SwiftStore,
    *,
    uuid: str | None = ID,
    state: ClaimState = ClaimState.DONE,
    container: str = f"private-{CONTAINER}",
    queue: str = QUEUE,
) -> str:
    """A worker's claim, brought to this state; returns the request's id."""
    book = ClaimBook(store, "w1", 60)
    found = identify(book, TestRequest(package="demo", uuid=uuid), queue, "0" * 64, redelivered=False)
    claim = book.take(found.key, found.request_id)
    if state is not ClaimState.RUNNING:
        assert book.renew(found.key, claim, state=state, container=container, path=PATH)
    return found.request_id


def state(engine: Engine, request_id: str = ID) -> RequestState:
    found = request(engine, request_id)
    assert found is not None
    return found.state


@pytest.mark.parametrize("kinds", [[EventKind.ACCEPTED], [EventKind.ACCEPTED, EventKind.TAKEN]])
def test_a_cancelled_request_of_whose_end_nothing_was_told(
    store: SwiftStore, engine: Engine, kinds: list[EventKind]
) -> None:
    told(engine, *kinds)
    assert end_finished(store, engine) == 0
    cancel(store, ID, "by ann")
    assert end_finished(store, engine) == 1
    found = request(engine, ID)
    assert found is not None
    assert (found.state, found.reason) == (RequestState.CANCELLED, "by ann")
    assert end_finished(store, engine) == 0


@pytest.mark.parametrize("kinds", [[EventKind.ACCEPTED], [EventKind.ACCEPTED, EventKind.TAKEN]])
def test_a_private_run_whose_end_was_not_told(
    store: SwiftStore, engine: Engine, kinds: list[EventKind]
) -> None:
    told(engine, *kinds)
    claimed(store)
    assert end_finished(store, engine) == 1
    found = request(engine)
    assert found is not None
    assert (found.state, found.container, found.path, found.package) == (
        RequestState.DONE,
        None,
        None,
        "private-test",
    )
    assert found.updated > time.time() - 60
    assert end_finished(store, engine) == 0


def test_a_public_one_has_its_place(store: SwiftStore, engine: Engine) -> None:
    told(engine, EventKind.TAKEN)
    claimed(store, container=CONTAINER)
    assert end_finished(store, engine) == 1
    found = request(engine)
    assert found is not None
    assert (found.container, found.path) == (CONTAINER, PATH)


def test_a_body_without_an_id(store: SwiftStore, engine: Engine) -> None:
    request_id = claimed(store, uuid=None)
    told(engine, EventKind.TAKEN, request_id=request_id)
    assert end_finished(store, engine) == 1
    assert state(engine, request_id) is RequestState.DONE


@pytest.mark.parametrize("unfinished", [ClaimState.RUNNING, ClaimState.STORING])
def test_what_is_under_way_goes_on(store: SwiftStore, engine: Engine, unfinished: ClaimState) -> None:
    told(engine, EventKind.TAKEN)
    claimed(store, state=unfinished)
    assert end_finished(store, engine) == 0
    assert state(engine) is RequestState.RUNNING


def test_a_moved_one_has_its_claim_where_it_came_from(store: SwiftStore, engine: Engine) -> None:
    home = QueueName("urgent", "noble", "amd64")
    told(engine, EventKind.ACCEPTED, queue=str(home))
    claimed(store)
    assert end_finished(store, engine) == 0
    order_move(store, ID, home, QUEUE)
    assert end_finished(store, engine) == 1
    assert state(engine) is RequestState.DONE


def test_a_note_on_what_is_gone_is_forgotten(store: SwiftStore, engine: Engine) -> None:
    others = "debci-ppa-noble-amd64"
    for queue, messages in ((QUEUE, 0), (others, 3)):
        with engine.begin() as connection:
            set_queue_lengths(connection, [(queue, messages, 1)])
        for age in (0.0, 600.0):
            when = time.time() - age
            leave_removal(store, Removal(queue, "0" * 64, f"id{age}", "not needed", (), 1, when))
    assert forget_removals(store, engine) == 1
    left = {(note.queue, note.request_id) for note in all_removals(store)}
    assert left == {(QUEUE, "id0.0"), (others, "id0.0"), (others, "id600.0")}


def test_what_was_heard_of_a_moment_ago_is_left_alone(store: SwiftStore, engine: Engine) -> None:
    told(engine, EventKind.TAKEN, ago=10)
    claimed(store)
    assert end_finished(store, engine) == 0
    assert end_finished(store, engine, quiet=1) == 1


def test_others_queues_and_requests(store: SwiftStore, engine: Engine) -> None:
    told(engine, EventKind.TAKEN)
    told(engine, EventKind.ACCEPTED, request_id="", queue="")
    told(engine, EventKind.ACCEPTED, request_id="other", queue="debci-ppa-noble-amd64")
    claimed(store, queue="debci-ppa-noble-amd64")
    claimed(store, uuid="00000000-0000-4000-8000-000000000000")
    assert end_finished(store, engine) == 0


def test_no_claims_at_all(store: SwiftStore, engine: Engine) -> None:
    told(engine, EventKind.TAKEN)
    assert end_finished(store, engine) == 0


NO_CLAIMS = [
    b"",
    b"{",
    b"[]",
    b'{"state": "done"}',
    b'{"state": "done", "container": "testyard-claims", "path": "%s", "renewed": 1}' % PATH.encode(),
    b'{"state": "done", "container": "autopkgtest-noble", "path": "../x", "renewed": 1}',
    b'{"state": "done", "container": "autopkgtest-noble", "path": "%s"}' % PATH.encode(),
]


def test_what_is_no_claim_ends_nothing(store: SwiftStore, engine: Engine) -> None:
    told(engine, EventKind.TAKEN)
    store.ensure_container(CLAIMS)
    for content in NO_CLAIMS:
        store.put(CLAIMS, f"{QUEUE}/id/{ID}", content)
        assert end_finished(store, engine) == 0, content
    assert state(engine) is RequestState.RUNNING
