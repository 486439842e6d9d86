# SPDX-License-Identifier: AGPL-3.0-or-later
"""What forges shall show: in order for each context of a commit, each told by one, on each database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, update

from testyard.index.engine import index_engine
from testyard.intake import create_intake, statuses
from testyard.intake.schema import status
from testyard.intake.statuses import Shown, Status

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
PLACE = {"forge": "github", "project": "jane/tool", "commit": "c" * 40, "context": "noble/amd64"}


@pytest.fixture
def memory(database: str) -> Iterator[Engine]:
    engine = index_engine(database, writer=True)
    create_intake(engine)
    yield engine
    engine.dispose()


def want(memory: Engine, request_id: str = ONE, **more: Any) -> None:
    with memory.begin() as connection:
        statuses.want(connection, request_id, **{**PLACE, **more}, details={"package": "tool"})


def test_a_stranger_takes_no_other_place_s_row(memory: Engine) -> None:
    want(memory, ONE, place={"number": 2, "ref": "refs/pull/2/head"})
    change(memory, Shown.FAIL, 1.0)
    want(memory, TWO, place={"number": 3, "ref": "refs/pull/3/head"}, stranger=True)
    assert (row_of(memory).request_id, row_of(memory).wanted) == (ONE, Shown.FAIL)
    want(memory, TWO, place={"number": 2, "ref": "refs/pull/2/head"}, stranger=True)
    assert row_of(memory).request_id == TWO, "its own it does"
    want(memory, ONE, place={"number": 4, "ref": "refs/pull/4/head"})
    assert row_of(memory).request_id == ONE, "and a member any"


def test_who_says_no_place_leaves_it(memory: Engine) -> None:
    want(memory, ONE, place={"number": 2, "ref": "refs/pull/2/head"})
    want(memory, TWO, place={"number": 0, "ref": ""})
    assert (row_of(memory).request_id, row_of(memory).place["number"]) == (TWO, 2)


def change(memory: Engine, shown: Shown, when: float, request_id: str = ONE) -> int:
    with memory.begin() as connection:
        return statuses.change(connection, request_id, shown, when=when)


def take(memory: Engine) -> Status | None:
    with memory.begin() as connection:
        return statuses.take(connection)


def told(memory: Engine, row: Status | None) -> bool:
    assert row is not None
    with memory.begin() as connection:
        return statuses.told(connection, row, {"check": 7})


def row_of(memory: Engine) -> Status:
    with memory.connect() as connection:
        (row,) = statuses.of_commit(connection, "github", "jane/tool", "c" * 40)
    return row


def let_lease_run_out(memory: Engine) -> None:
    with memory.begin() as connection:
        connection.execute(update(status).values(next_attempt=time.time() - 1))


def test_what_is_wanted_is_told_once(memory: Engine) -> None:
    want(memory)
    row = take(memory)
    assert row is not None
    assert (row.wanted, row.details, row.attempts) == (Shown.QUEUED, {"package": "tool"}, 1)
    assert take(memory) is None, "it is held"
    assert told(memory, row)
    assert take(memory) is None, "there is nothing new to tell"
    want(memory)
    assert take(memory) is None, "the same wish again is no news"
    assert row_of(memory).memo == {"check": 7}


def test_what_changes_while_it_is_told_is_told_after_that(memory: Engine) -> None:
    want(memory)
    first = take(memory)
    assert change(memory, Shown.PASS, 5) == 1
    assert take(memory) is None, "the first one is not through yet: a later status must not overtake it"
    assert told(memory, first)
    second = take(memory)
    assert second is not None
    assert second.wanted is Shown.PASS
    assert told(memory, second)
    assert take(memory) is None


def test_of_a_holder_that_died_another_takes_over(memory: Engine) -> None:
    want(memory)
    take(memory)
    let_lease_run_out(memory)
    second = take(memory)
    assert second is not None
    assert second.attempts == 2


def test_a_holder_that_was_frozen_makes_it_be_told_again(memory: Engine) -> None:
    want(memory)
    frozen = take(memory)
    let_lease_run_out(memory)
    change(memory, Shown.FAIL, 5)
    assert told(memory, take(memory))
    assert not told(memory, frozen), "it has just shown an older state"
    again = take(memory)
    assert again is not None
    assert again.wanted is Shown.FAIL


def test_after_a_failure_it_waits_and_then_is_told(memory: Engine) -> None:
    want(memory)
    row = take(memory)
    assert row is not None
    with memory.begin() as connection:
        statuses.failed(connection, row, "no answer", 30)
    assert take(memory) is None
    assert row_of(memory).problem == "no answer"
    let_lease_run_out(memory)
    assert told(memory, take(memory))
    assert row_of(memory).problem == ""


def test_what_the_forge_refuses_for_good_is_left_until_there_is_news(memory: Engine) -> None:
    want(memory)
    row = take(memory)
    assert row is not None
    with memory.begin() as connection:
        statuses.failed(connection, row, "422: no such commit", None)
    assert take(memory) is None
    change(memory, Shown.PASS, 5)
    assert take(memory) is not None


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([(Shown.RUNNING, 2), (Shown.PASS, 3)], Shown.PASS),
        ([(Shown.PASS, 3), (Shown.RUNNING, 2)], Shown.PASS),
        ([(Shown.PASS, 3), (Shown.RUNNING, 4)], Shown.PASS),  # a second message of the request
        ([(Shown.RUNNING, 2), (Shown.QUEUED, 3)], Shown.QUEUED),
        ([(Shown.QUEUED, 3), (Shown.RUNNING, 2)], Shown.RUNNING),  # nothing can tell: a look will
        ([(Shown.CANCELLED, 3), (Shown.RUNNING, 2)], Shown.CANCELLED),
        ([(Shown.CANCELLED, 3), (Shown.RUNNING, 4)], Shown.RUNNING),
        ([(Shown.CANCELLED, 3), (Shown.FAIL, 2)], Shown.FAIL),
        ([(Shown.FAIL, 3), (Shown.CANCELLED, 4)], Shown.FAIL),
        ([(Shown.REJECTED, 3), (Shown.CANCELLED, 4)], Shown.REJECTED),
    ],
)
def test_steps_in_any_order(memory: Engine, steps: list[tuple[Shown, float]], end: Shown) -> None:
    want(memory)
    for shown, when in steps:
        change(memory, shown, when)
    assert row_of(memory).wanted is end


def test_a_newer_request_takes_the_place_of_an_older_one(memory: Engine) -> None:
    want(memory)
    change(memory, Shown.FAIL, 3)
    assert told(memory, take(memory))
    want(memory, TWO)
    row = row_of(memory)
    assert (row.request_id, row.wanted, row.memo) == (TWO, Shown.QUEUED, {"check": 7})
    assert change(memory, Shown.PASS, 9) == 0, "nobody waits for the older one any more"
    assert told(memory, take(memory))


def test_a_private_one_keeps_no_name(memory: Engine) -> None:
    with memory.begin() as connection:
        statuses.want(connection, ONE, **PLACE, details={"package": "secret-tool", "private": True})
    row = row_of(memory)
    assert row.private
    assert "secret-tool" not in str(row)
    assert statuses.context_of("noble", "amd64", "smoke", private=True) == "noble/amd64"
    assert statuses.context_of("noble", "amd64", "smoke") == "noble/amd64 smoke"


def test_a_look_at_those_that_are_silent(memory: Engine) -> None:
    want(memory)
    with memory.begin() as connection:
        assert statuses.silent(connection, limit=10) == ()
        statuses.look_at(connection, ONE)
        assert [row.request_id for row in statuses.silent(connection, limit=10)] == [ONE]
        statuses.looked(connection, ONE, 60)
        assert statuses.silent(connection, limit=10) == ()
        statuses.look_at(connection, ONE)
    change(memory, Shown.PASS, 3)
    with memory.begin() as connection:
        statuses.look_at(connection, ONE)
        assert statuses.silent(connection, limit=10) == (), "it has ended"


def test_what_ended_long_ago_is_forgotten(memory: Engine) -> None:
    want(memory)
    want(memory, TWO, context="noble/arm64")
    change(memory, Shown.PASS, 3)
    with memory.begin() as connection:
        connection.execute(update(status).values(updated=time.time() - 31 * 86400))
        assert statuses.forget_old(connection) == 1
        assert [row.request_id for row in statuses.of_request(connection, TWO)] == [TWO]
        assert statuses.of_request(connection, ONE) == ()


def test_of_many_that_tell_each_row_is_one_s(memory: Engine) -> None:
    for number in range(30):
        want(memory, f"{number:08}-1111-4111-8111-111111111111", context=f"noble/a{number}")
    told_by: list[str] = []
    lock = threading.Lock()

    def tell() -> None:
        idle = 0
        while idle < 5:  # those of the same choice may all be taken by others
            row = take(memory)
            if row is None:
                idle += 1
                continue
            with lock:
                told_by.append(row.context)
            assert told(memory, row)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told_by) == sorted(f"noble/a{number}" for number in range(30))
