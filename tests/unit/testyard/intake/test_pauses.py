# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asked for a pause is left alone by all copies; afterwards one tries."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, select, update

from testyard.intake.pauses import Pauses
from testyard.intake.schema import fact


def over(memory: Engine, before: float = 1.0) -> None:
    with memory.begin() as connection:
        connection.execute(update(fact).values(expires=time.time() - before))


def test_nobody_pauses_for_nothing(memory: Engine) -> None:
    assert Pauses(memory).enter(("host", "host/account")) == (0.0, frozenset())


def test_all_copies_wait_as_long_as_was_asked(memory: Engine) -> None:
    Pauses(memory).failed("host/one", 3000.0)
    wait, trial = Pauses(memory).enter(("host", "host/one"))
    assert 2990 < wait <= 3600
    assert not trial
    assert Pauses(memory).enter(("host", "host/other"))[0] == 0, "another account is not meant"


def test_a_shorter_pause_ends_no_longer_one(memory: Engine) -> None:
    pauses = Pauses(memory)
    pauses.failed("host", 3000.0)
    pauses.failed("host", 1.0)
    assert pauses.enter(("host",))[0] > 2900


def test_after_it_one_tries_and_if_that_works_all_may(memory: Engine) -> None:
    pauses = Pauses(memory)
    pauses.failed("host")
    over(memory)
    assert pauses.enter(("host",)) == (0.0, {"host"})
    assert Pauses(memory).enter(("host",))[0] > 0
    pauses.worked(("host",))
    assert Pauses(memory).enter(("host",)) == (0.0, frozenset())


def test_pauses_grow_and_several_that_meet_one_failure_count_once(memory: Engine) -> None:
    pauses = Pauses(memory)
    assert [round(pauses.failed("host") / 2.2, 0) for _ in range(4)] == [1.0] * 4
    lengths = []
    for _ in range(12):
        over(memory)
        assert pauses.enter(("host",))[1] == {"host"}
        lengths.append(pauses.failed("host", trial=True))
    assert lengths[:3] == [pytest.approx(length, rel=0.1) for length in (4.4, 8.8, 17.6)]
    assert 300 <= lengths[-1] <= 360


def test_old_ones_are_forgotten(memory: Engine) -> None:
    pauses = Pauses(memory)
    pauses.failed("old")
    over(memory, 4000)
    pauses.failed("new")
    with memory.connect() as connection:
        assert connection.execute(select(fact.c.key)).scalars().all() == ["pause/new"]
