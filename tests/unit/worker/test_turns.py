# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fair turns: between contexts by their shares, between a context's queues alike."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from testyard.queue import QueueName, all_queues
from worker.turns import Turns

UBUNTU = QueueName("ubuntu", "noble", "amd64")
ARM = QueueName("ubuntu", "noble", "arm64")
HUGE = QueueName("huge", "noble", "amd64")
PPA = QueueName("ppa", "noble", "amd64")
URGENT = QueueName("urgent", "noble", "amd64")


def run(turns: Turns, waiting: dict[QueueName, int], rounds: int) -> list[QueueName]:
    served = []
    for _ in range(rounds):
        queue = turns.choose(lambda name: waiting.get(name, 0) > 0)
        if queue is None:
            break
        turns.took(queue)
        waiting[queue] -= 1
        served.append(queue)
    return served


@pytest.mark.parametrize(
    ("shares", "expected"),
    [({}, {UBUNTU: 20, HUGE: 20, PPA: 20}), ({"ubuntu": 4, "ppa": 1}, {UBUNTU: 40, HUGE: 10, PPA: 10})],
)
def test_contexts_get_their_shares(shares: dict[str, int], expected: dict[QueueName, int]) -> None:
    served = run(Turns(expected, shares), dict.fromkeys(expected, 1000), 60)
    assert Counter(served) == expected


def test_a_contexts_queues_are_alike_whatever_the_others_have() -> None:
    served = run(Turns((UBUNTU, ARM, HUGE), {}), {UBUNTU: 100, ARM: 100, HUGE: 100}, 40)
    assert Counter(served) == {UBUNTU: 10, ARM: 10, HUGE: 20}


def test_who_had_nothing_to_run_saves_up_no_turns() -> None:
    turns = Turns((UBUNTU, ARM, HUGE), {})
    run(turns, {HUGE: 500, UBUNTU: 500}, 1000)
    served = run(turns, {UBUNTU: 100, ARM: 100, HUGE: 100}, 20)
    assert Counter(served) == {UBUNTU: 5, ARM: 5, HUGE: 10}


def test_what_is_urgent_goes_first_whatever_has_run() -> None:
    turns = Turns((UBUNTU, URGENT), {"ubuntu": 100})
    run(turns, {URGENT: 50}, 50)
    served = run(turns, {UBUNTU: 100, URGENT: 3}, 5)
    assert served == [URGENT] * 3 + [UBUNTU] * 2


def test_nothing_waits() -> None:
    assert Turns((UBUNTU,), {}).choose(lambda _: False) is None


def test_what_ran_while_nothing_else_waited_is_forgotten() -> None:
    turns = Turns((UBUNTU, ARM, HUGE), {})
    run(turns, {UBUNTU: 500}, 1000)  # and then nothing waited
    served = run(turns, {UBUNTU: 100, ARM: 100, HUGE: 100}, 20)
    assert Counter(served) == {UBUNTU: 5, ARM: 5, HUGE: 10}


@given(some.lists(some.sampled_from(["ubuntu", "huge", "ppa"]), max_size=60))
def test_no_context_starves(history: list[str]) -> None:
    queues = all_queues(("ubuntu", "huge", "ppa"), ("noble",), ("amd64", "arm64"))
    turns = Turns(queues, {"huge": 3})
    for context in history:  # what ran while nothing else waited
        chosen = turns.choose(lambda queue, only=context: queue.context == only)  # type: ignore[misc]
        assert chosen is not None
        turns.took(chosen)
    served = Counter(queue.context for queue in run(turns, dict.fromkeys(queues, 100), 50))
    assert abs(served["ubuntu"] - 10) <= 1
    assert abs(served["ppa"] - 10) <= 1
