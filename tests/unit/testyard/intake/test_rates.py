# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rate limits, on each database and from several processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select

from testyard.admission import Rates
from testyard.errors import LimitError
from testyard.index.engine import index_engine
from testyard.intake import create_intake
from testyard.intake.rates import Bucket, buckets_of, forget_full, take
from testyard.intake.schema import bucket

ONE = Bucket("identity", "github/jane", size=3, per_second=0.5)


@pytest.fixture
def memory(database: str) -> Iterator[Engine]:
    engine = index_engine(database, writer=True)
    create_intake(engine)
    yield engine
    engine.dispose()


def taken(memory: Engine, *buckets: Bucket, cost: float = 1, now: float) -> bool:
    try:
        with memory.begin() as connection:
            take(connection, buckets, cost, now)
    except LimitError:
        return False
    return True


def test_a_burst_and_then_as_fast_as_it_fills(memory: Engine) -> None:
    assert [taken(memory, ONE, now=100) for _ in range(4)] == [True, True, True, False]
    assert [taken(memory, ONE, now=101.9), taken(memory, ONE, now=102), taken(memory, ONE, now=102)] == [
        False,
        True,
        False,
    ]
    # an hour later there is no more in it than its size
    assert [taken(memory, ONE, now=4000) for _ in range(4)] == [True, True, True, False]


def test_who_must_wait_is_told_how_long(memory: Engine) -> None:
    assert taken(memory, ONE, cost=3, now=100)
    with (
        memory.begin() as connection,
        pytest.raises(LimitError, match=r"github/jane: 3 at once and 30 a minute") as e,
    ):
        take(connection, [ONE], 1, 100)
    assert e.value.retry_after == pytest.approx(2)


def test_what_costs_more_than_all_is_paid_off(memory: Engine) -> None:
    assert taken(memory, ONE, cost=5, now=100)
    assert not taken(memory, ONE, now=105)
    assert taken(memory, ONE, now=106)
    assert not taken(memory, ONE, cost=5, now=107)
    assert taken(memory, ONE, cost=5, now=112)


def test_nothing_is_taken_of_one_if_the_other_is_empty(memory: Engine) -> None:
    address = Bucket("address", "192.0.2.1", size=10, per_second=1)
    assert [taken(memory, address, ONE, now=100) for _ in range(5)] == [True, True, True, False, False]
    with memory.connect() as connection:
        left = {row.key: row.left for row in connection.execute(select(bucket))}
    assert left == {"address/192.0.2.1": 7, "identity/github/jane": 0}


def test_a_clock_that_is_behind_gives_nothing(memory: Engine) -> None:
    assert taken(memory, ONE, cost=3, now=100)
    assert not taken(memory, ONE, now=50)
    assert not taken(memory, ONE, now=101)
    assert taken(memory, ONE, now=102)


def test_full_ones_are_forgotten(memory: Engine) -> None:
    other = Bucket("identity", "github/joe", size=3, per_second=0.5)
    assert taken(memory, ONE, cost=3, now=100)
    assert taken(memory, other, now=104)
    with memory.begin() as connection:
        assert forget_full(connection, [ONE], now=105) == 0
        assert forget_full(connection, [ONE], now=106) == 2


_WORKER = """
import sys
from testyard.errors import LimitError
from testyard.index.engine import index_engine
from testyard.intake.rates import Bucket, take
engine, done = index_engine(sys.argv[1], writer=True), 0
for _ in range(60):
    try:
        with engine.begin() as connection:
            buckets = [Bucket("address", "a", 100, 0.001), Bucket("identity", sys.argv[2], 90, 0.001)]
            take(connection, buckets, 1, 1000)
        done += 1
    except LimitError:
        pass
print(done)
"""


def test_processes_share_it(memory: Engine, database: str) -> None:
    argv = [sys.executable, "-c", _WORKER, database]
    running = [
        subprocess.Popen([*argv, name], stdout=subprocess.PIPE, text=True) for name in ("jane", "joe", "jane")
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in running]
    assert sum(counts) == 100, counts
    assert counts[0] + counts[2] <= 90


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unix", "unix", True),
    ],
)
def test_addresses(one: str, other: str, same: bool) -> None:
    keys = [[found.key for found in buckets_of(Rates(), "", address)] for address in (one, other)]
    assert (keys[0] == keys[1]) is same


steps = st.lists(st.tuples(st.floats(0, 30), st.floats(0.5, 8)), max_size=30)


@settings(deadline=None, max_examples=60)
@given(steps=steps)
def test_never_more_than_the_size_and_what_came_since(steps: list[tuple[float, float]]) -> None:
    engine = create_engine("sqlite://")
    create_intake(engine)
    now, spent = 1000.0, 0.0
    for pause, cost in steps:
        now += pause
        if taken(engine, ONE, cost=cost, now=now):
            spent += cost
            # the last one may owe what is more than the size
            assert spent <= ONE.size + (now - 1000) * ONE.per_second + max(cost - ONE.size, 0) + 1e-6
    engine.dispose()
