# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several processes that write the same index at the same moment, as functions do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection, Engine, func, inspect, select

from tests.conftest import NewIndex
from testyard.event import Event, EventKind
from testyard.index import RequestState, open_index, read
from testyard.index.schema import metadata, run, subtest
from testyard.index.write import apply_event, record_run, set_queue_lengths
from testyard.result import Result
from testyard.run import RunId
from testyard.store import RunPath

ID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"
QUEUE = "debci-noble-amd64"
T = TypeVar("T")
RESULT = Result(exit_code=0, source="gzip", request_id=ID, summary="a  PASS\nb  PASS\n")


def path(number: int = 0) -> RunPath:
    return RunPath("noble", "amd64", "gzip", RunId(f"20260105_1200{number:02}_abcde@"))


def together(actions: list[Callable[[], T]]) -> list[T]:
    """What each gave that were all begun at once; raises what one of them raised."""
    barrier = threading.Barrier(len(actions))
    given: list[T] = []
    failures: list[BaseException] = []

    def act(action: Callable[[], object]) -> None:
        barrier.wait(20)
        try:
            given.append(action())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]
    assert len(given) == len(actions)
    return given


def writer(engine: Engine) -> Engine:
    """Another process's engine on the same index."""
    return open_index(engine.url.render_as_string(hide_password=False), writer=True)


@pytest.mark.parametrize("attempt", range(4))
def test_functions_that_start_at_once_on_an_empty_database(new_index: NewIndex, attempt: int) -> None:
    url = new_index()

    def start() -> set[str]:
        engine = open_index(url, writer=True)
        found = set(inspect(engine).get_table_names())
        engine.dispose()
        return found

    assert together([start] * 4) == [set(metadata.tables)] * 4, attempt


def test_indexers_that_enter_the_same_runs(engine: Engine) -> None:
    def enter() -> int:
        own = writer(engine)
        entered = 0
        for number in range(30):
            with own.begin() as connection:
                entered += record_run(connection, "autopkgtest-noble", path(number), RESULT)
        own.dispose()
        return entered

    assert sum(together([enter] * 3)) == 30
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(run)).scalar() == 30
        assert connection.execute(select(func.count()).select_from(subtest)).scalar() == 60


def test_status_functions_that_look_at_the_same_queues(engine: Engine) -> None:
    queues = [(f"q{number}", number, 0) for number in range(20)]

    def look(order: int) -> None:
        own = writer(engine)
        for _ in range(10):
            with own.begin() as connection:
                set_queue_lengths(connection, queues[::order])
        own.dispose()

    together([lambda: look(1), lambda: look(-1)])
    with engine.connect() as connection:
        assert len(read.queue_lengths(connection)) == 20


def enter_run(connection: Connection) -> None:
    assert record_run(connection, "autopkgtest-noble", path(), RESULT)


def tell(*kinds: EventKind) -> Callable[[Connection], None]:
    def act(connection: Connection) -> None:
        for number, kind in enumerate(kinds):
            data = {"worker": "w1"} if kind is EventKind.TAKEN else {}
            apply_event(connection, Event(kind, ID, QUEUE, "gzip", time=10.0 + number, data=data))

    return act


ACCEPTED = tell(EventKind.ACCEPTED)
TAKEN = tell(EventKind.ACCEPTED, EventKind.TAKEN)


@pytest.mark.parametrize(
    ("first", "second"),
    [(enter_run, ACCEPTED), (ACCEPTED, enter_run), (enter_run, TAKEN), (TAKEN, enter_run)],
    ids=["run, accepted", "accepted, run", "run, taken", "taken, run"],
)
def test_a_run_and_an_event_in_open_transactions(
    engine: Engine, first: Callable[[Connection], None], second: Callable[[Connection], None]
) -> None:
    def act() -> None:
        with own.begin() as connection:
            second(connection)

    own = writer(engine)
    thread = threading.Thread(target=act)
    with engine.begin() as connection:
        first(connection)
        thread.start()
        thread.join(0.2)  # it waits for us, or has ended: in either case the request is done
    thread.join(60)
    own.dispose()
    with engine.connect() as connection:
        found = read.find_request(connection, ID)
    assert found is not None
    assert (found.state, found.path, found.queue, found.accepted) == (
        RequestState.DONE,
        str(path()),
        QUEUE,
        10,
    )
