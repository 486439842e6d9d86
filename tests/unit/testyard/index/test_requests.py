# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests: their events in any order, once or more often."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from testyard.errors import RequestError
from testyard.event import Event, EventKind
from testyard.index import RequestRow, RequestState, read
from testyard.index.write import LOG_TAIL, apply_event, end_request, record_run
from testyard.result import Result
from testyard.run import Phase, PhaseTime, RunId
from testyard.store import RunPath

ID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"
PATH = RunPath("noble", "amd64", "gzip", RunId("20260105_120000_abcde@"))
PARAMETERS = {"triggers": ["a1/1"]}


def event(kind: EventKind, time: float, request_id: str = ID, package: str = "gzip", **data: object) -> Event:
    return Event(kind, request_id, "debci-noble-amd64", package, time=time, data=data)


def phase(time: float, *, started: float, seconds: float | None = None, test: str | None = None) -> Event:
    kind = Phase.TEST if test else Phase.BUILD
    return event(EventKind.PHASE, time, **PhaseTime(kind, started, seconds, test).to_json())


ACCEPTED = event(EventKind.ACCEPTED, 10, parameters=PARAMETERS)
TAKEN = event(EventKind.TAKEN, 20, worker="w1", parameters=PARAMETERS)
RETURNED = event(EventKind.RETURNED, 30, reason="the worker was stopped")
TAKEN_AGAIN = event(EventKind.TAKEN, 40, worker="w2", parameters=PARAMETERS)
STORED = event(EventKind.STORED, 50, container="autopkgtest-noble", path=str(PATH), exit_code=0)
CANCELLED = event(EventKind.CANCELLED, 46, package="", reason="by ann")
REJECTED = event(EventKind.REJECTED, 45, package="", reason="package: bad")


def row(index: Connection, *events: Event) -> RequestRow:
    for each in events:
        apply_event(index, each)
    found = read.find_request(index, ID)
    assert found is not None
    return found


def test_from_acceptance_to_the_end(index: Connection) -> None:
    found = row(index, ACCEPTED)
    assert (found.state, found.accepted, found.taken, found.attempt) == (RequestState.QUEUED, 10, None, 0)
    assert (found.package, found.parameters, found.queue_name.release) == ("gzip", PARAMETERS, "noble")
    found = row(index, TAKEN)
    assert (found.state, found.taken, found.worker, found.attempt) == (RequestState.RUNNING, 20, "w1", 1)
    found = row(index, phase(21, started=21), event(EventKind.LOG, 22, text="one\n", start=0, end=4))
    assert (found.phases, found.log_tail, found.log_end) == ((PhaseTime(Phase.BUILD, 21.0),), "one\n", 4)
    found = row(index, RETURNED)
    assert (found.state, found.reason) == (RequestState.QUEUED, "the worker was stopped")
    found = row(index, TAKEN_AGAIN)
    assert (found.state, found.worker, found.attempt, found.reason) == (RequestState.RUNNING, "w2", 2, "")
    assert (found.phases, found.log_tail, found.log_end) == ((), "", 0)
    found = row(index, STORED)
    assert (found.state, found.container, found.path) == (RequestState.DONE, "autopkgtest-noble", str(PATH))
    assert (found.accepted, found.updated, found.log_tail) == (10, 50, "")


def test_a_cancelled_request_stays_so(index: Connection) -> None:
    found = row(
        index,
        ACCEPTED,
        TAKEN,
        CANCELLED,
        phase(47, started=47),
        event(EventKind.LOG, 48, text="x", start=0, end=1),
    )
    assert (found.state, found.reason, found.log_tail) == (RequestState.CANCELLED, "by ann", "")
    assert row(index, STORED).state is RequestState.DONE  # it came too late


def state(found: RequestRow) -> tuple[object, ...]:
    return (
        found.state,
        found.accepted,
        found.parameters,
        found.package,
        found.container,
        found.path,
        found.reason,
    )


STORIES: list[tuple[Event, ...]] = [
    (ACCEPTED, TAKEN),
    (ACCEPTED, TAKEN, RETURNED),
    (ACCEPTED, TAKEN, RETURNED, TAKEN_AGAIN),
    (ACCEPTED, TAKEN, REJECTED),
    (ACCEPTED, TAKEN, CANCELLED),
    (ACCEPTED, TAKEN, RETURNED, TAKEN_AGAIN, STORED),
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: str(story[-1].kind) + str(len(story)))
def test_any_order_and_twice_ends_the_same(shared: Engine, story: tuple[Event, ...]) -> None:
    endings = set()
    for order in permutations(story):
        for told in (order, (*order, *order[::-1]))[: 2 if len(story) < 5 else 1]:
            with shared.connect() as connection:
                found = row(connection, *told)
                taken = (found.taken, found.worker) if found.state is RequestState.RUNNING else ()
                endings.add(repr((state(found), taken)))
                connection.rollback()
    with shared.connect() as connection:
        found = row(connection, *story)
        assert found.accepted == 10
        assert found.package == "gzip"
        connection.rollback()
    assert len(endings) == 1, endings


LIVE = [phase(21, started=21), phase(25, started=21, seconds=4.0), phase(25, started=25, test="a")]


@pytest.mark.parametrize("order", list(permutations(LIVE)))
def test_phases_in_any_order(index: Connection, order: tuple[Event, ...]) -> None:
    found = row(index, TAKEN, *order, *order)
    assert found.phases == (PhaseTime(Phase.BUILD, 21.0, 4.0), PhaseTime(Phase.TEST, 25.0, None, "a"))


def test_two_phases_may_start_at_the_same_time(index: Connection) -> None:
    found = row(index, TAKEN, phase(21, started=21, seconds=0.0), phase(21, started=21, test="a"))
    assert len(found.phases) == 2


def test_a_taking_told_twice_does_not_begin_anew(index: Connection) -> None:
    found = row(index, TAKEN, LIVE[0], event(EventKind.LOG, 22, text="one\n", start=0, end=4), TAKEN)
    assert (found.attempt, len(found.phases), found.log_tail) == (1, 1, "one\n")


def test_the_former_worker_is_not_heard(index: Connection) -> None:
    late = [LIVE[0], event(EventKind.LOG, 22, text="old\n", start=0, end=400), RETURNED]
    found = row(index, TAKEN, TAKEN_AGAIN, *late)
    assert (found.state, found.worker, found.phases, found.log_end) == (RequestState.RUNNING, "w2", (), 0)


def test_a_log_told_twice_or_late(index: Connection) -> None:
    one, two = (
        event(EventKind.LOG, 22, text="one\n", start=0, end=4),
        event(EventKind.LOG, 23, text="two\n", start=4, end=8),
    )
    found = row(index, TAKEN, one, one, two, one, two)
    assert (found.log_tail, found.log_end) == ("one\ntwo\n", 8)


def test_the_tail_of_a_long_log(index: Connection) -> None:
    found = row(
        index, TAKEN, event(EventKind.LOG, 22, text="x" * LOG_TAIL + "end\0", start=0, end=LOG_TAIL + 4)
    )
    assert len(found.log_tail) == LOG_TAIL
    assert found.log_tail.endswith("end\N{REPLACEMENT CHARACTER}")


def test_what_is_told_after_the_end_changes_nothing(index: Connection) -> None:
    done = row(index, ACCEPTED, TAKEN, STORED)
    late = [
        event(kind, 99, reason="x", worker="w9")
        for kind in (EventKind.TAKEN, EventKind.RETURNED, EventKind.REJECTED)
    ]
    assert row(index, *late, event(EventKind.LOG, 99, text="x", start=0, end=99)) == done


def test_a_private_runs_end_has_no_place(index: Connection) -> None:
    found = row(index, TAKEN, event(EventKind.STORED, 50, package="private-test"))
    assert (found.state, found.container, found.path, found.package) == (
        RequestState.DONE,
        None,
        None,
        "private-test",
    )


def enter_run(index: Connection) -> None:
    record_run(index, "autopkgtest-noble", PATH, Result(exit_code=0, source="gzip", request_id=ID))


SHORT = [story for story in STORIES if len(story) < 4]


@pytest.mark.parametrize("story", SHORT, ids=lambda story: str(story[-1].kind) + str(len(story)))
def test_a_stored_run_ends_its_request_in_any_order(shared: Engine, story: tuple[Event, ...]) -> None:
    for order in permutations((None, *story)):
        for steps in (order, (*order, *order[::-1])):
            with shared.connect() as connection:
                for step in steps:
                    if step is None:
                        enter_run(connection)
                    else:
                        apply_event(connection, step)
                found = row(connection)
                connection.rollback()
            assert state(found) == (
                RequestState.DONE,
                10,
                PARAMETERS,
                "gzip",
                "autopkgtest-noble",
                str(PATH),
                "",
            ), steps
            assert (found.queue, found.log_tail) == ("debci-noble-amd64", "")
            assert found.updated == PATH.run_id.time.timestamp()


def test_of_two_results_the_later_one_is_the_requests(shared: Engine) -> None:
    later = RunPath("noble", "amd64", "gzip", RunId("20260105_120001_00000@"))
    stored = event(EventKind.STORED, 60, container="autopkgtest-noble-a-b", path=str(later))
    result = Result(exit_code=0, source="gzip", request_id=ID)
    steps: list[Callable[[Connection], object]] = [
        enter_run,
        lambda index: apply_event(index, STORED),
        lambda index: apply_event(index, stored),
        lambda index: record_run(index, "autopkgtest-noble-a-b", later, result),
    ]
    for order in permutations(steps):
        with shared.connect() as connection:
            for step in order:
                step(connection)
            end_request(connection, ID, package="gzip", ended=1)
            found = row(connection)
            connection.rollback()
        assert (found.container, found.path) == ("autopkgtest-noble-a-b", str(later))


def test_a_run_of_which_no_event_was_told_has_its_request(index: Connection) -> None:
    enter_run(index)
    found = row(index)
    assert (found.state, found.package, found.queue, found.parameters) == (RequestState.DONE, "gzip", "", {})
    assert (found.container, found.path) == ("autopkgtest-noble", str(PATH))
    assert read.open_requests(index, before=1e12) == ()


def test_the_end_of_a_private_run_has_no_place(index: Connection) -> None:
    row(index, ACCEPTED, TAKEN)
    end_request(index, ID, package="private-test", ended=15)
    found = row(index)
    assert (found.state, found.container, found.path, found.updated) == (RequestState.DONE, None, None, 20)
    enter_run(index)
    end_request(index, ID, package="private-test", ended=15)
    assert row(index).path == str(PATH)


def test_open_requests_are_the_silent_ones(index: Connection) -> None:
    apply_event(index, event(EventKind.ACCEPTED, 10, "waits"))
    for request_id, last in (("runs", 20.0), ("speaks", 40.0)):
        apply_event(index, event(EventKind.TAKEN, last, request_id))
    apply_event(index, event(EventKind.REJECTED, 10, "rejected"))
    apply_event(index, event(EventKind.STORED, 10, "stored"))
    found = read.open_requests(index, before=30)
    assert sorted(each.request_id for each in found) == ["runs", "waits"]
    assert {(each.queue, each.package) for each in found} == {("debci-noble-amd64", "gzip")}


def test_requests_by_state(index: Connection) -> None:
    for number, time in enumerate((30, 10, 20)):
        apply_event(index, event(EventKind.ACCEPTED, time, f"id{number}", "sed" if number else "gzip"))
    apply_event(index, event(EventKind.TAKEN, 40, "id2", "sed"))
    queued = read.requests_in(index, [RequestState.QUEUED])
    assert [found.request_id for found in queued] == ["id1", "id0"]
    both = (RequestState.QUEUED, RequestState.RUNNING)
    assert [found.request_id for found in read.requests_in(index, both, package="sed")] == ["id1", "id2"]
    assert len(read.requests_in(index, both, limit=1)) == 1
    apply_event(index, event(EventKind.TAKEN, 15, "not accepted"))
    apply_event(index, event(EventKind.REJECTED, 12, "never"))
    found = read.requests_in(index, [*both, RequestState.REJECTED])
    assert [row.request_id for row in found] == ["id1", "never", "not accepted", "id2", "id0"]
    assert read.requests_in(index, []) == ()
    assert read.find_request(index, "nosuch") is None


def test_a_queue_of_others(index: Connection) -> None:
    apply_event(index, Event(EventKind.ACCEPTED, ID, "other", "gzip", time=1))
    with pytest.raises(RequestError):
        _ = row(index).queue_name


EVENTS = st.builds(
    event,
    st.sampled_from([kind for kind in EventKind if kind not in (EventKind.PHASE, EventKind.LOG)]),
    st.integers(0, 20).map(float),
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    worker=st.sampled_from(["w1", "w2"]),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, min_size=1, max_size=8))
def test_any_story_leaves_a_row_that_can_be_read(shared: Engine, story: list[Event]) -> None:
    with shared.connect() as connection:
        found = row(connection, *story)
        assert (found.state is RequestState.DONE) == any(each.kind is EventKind.STORED for each in story)
        again = row(connection, *story)
        assert found.state is RequestState.RUNNING or again.state is found.state
        connection.rollback()
