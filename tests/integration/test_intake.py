# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a worker lets in, with a real RabbitMQ: fair, never more than it can run, nothing sent back."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from tests.servers import Rabbit
from testyard.adapters.amqp import connection_parameters, declare_topology
from testyard.queue import QueueName, all_queues
from worker.intake import Intake
from worker.turns import Turns

QUEUES = all_queues(("ubuntu", "huge", "ppa"), ("noble",), ("amd64", "arm64"))
UBUNTU = QueueName("ubuntu", "noble", "amd64")
HUGE = QueueName("huge", "noble", "amd64")
ARM_HUGE = QueueName("huge", "noble", "arm64")


@pytest.fixture
def rabbit(broker_node: Rabbit) -> Rabbit:
    with pika.BlockingConnection(connection_parameters(broker_node.url)) as connection:
        channel = connection.channel()
        declare_topology(channel, QUEUES)
        for queue in QUEUES:
            channel.queue_purge(str(queue))
    return broker_node


class Taker:
    """A worker that only takes: each test ends when it is told."""

    def __init__(self, url: str, slots: int, shares: dict[str, int], elsewhere: int) -> None:
        self.connection = pika.BlockingConnection(connection_parameters(url))
        self.channel: BlockingChannel = self.connection.channel()
        self.taken: list[QueueName] = []
        self.redelivered = 0
        self.most = 0
        self._running: deque[int] = deque()
        turns = Turns(QUEUES, shares)
        self.elsewhere = elsewhere
        self.full: set[QueueName] = set()
        self._slots = slots
        self.intake = Intake(self.channel, QUEUES, turns, self._room, self._arrived)
        self.intake.start()

    def _arrived(
        self, queue: QueueName, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.taken.append(queue)
        self.redelivered += bool(method.redelivered)
        self._running.append(int(method.delivery_tag or 0))
        self.most = max(self.most, len(self._running))

    def _room(self, queue: QueueName) -> int:
        return 0 if queue in self.full else self._slots - self.elsewhere - len(self._running)

    def hear(self, seconds: float = 0.01) -> None:
        self.connection.process_data_events(time_limit=seconds)
        self.intake.look()

    def end_one(self) -> None:
        if self._running:
            self.intake.settle(partial(self.channel.basic_ack, self._running.popleft()))


@pytest.fixture
def taker(rabbit: Rabbit) -> Iterator[Callable[..., Taker]]:
    with ExitStack() as stack:

        def make(slots: int, *, elsewhere: int = 0, **shares: int) -> Taker:
            made = Taker(rabbit.url, slots, shares, elsewhere)
            stack.callback(made.connection.close)
            return made

        yield make


def publish(rabbit: Rabbit, **counts: int) -> None:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for name, count in counts.items():
            context, _, architecture = name.partition("_")
            queue = QueueName(context, "noble", architecture or "amd64")
            for number in range(count):
                channel.basic_publish("", str(queue), str(number).encode())


def run(*takers: Taker, until: int) -> None:
    deadline = time.monotonic() + 60
    while sum(len(taker.taken) for taker in takers) < until:
        assert time.monotonic() < deadline, [Counter(taker.taken) for taker in takers]
        for taker in takers:
            taker.end_one()
            taker.hear()


@pytest.mark.parametrize("slots", [1, 3])
def test_a_backlog_starves_nobody(rabbit: Rabbit, taker: Callable[..., Taker], slots: int) -> None:
    publish(rabbit, huge=80, huge_arm64=80, ubuntu=20)
    one = taker(slots)
    run(one, until=40)
    first = Counter(queue.context for queue in one.taken[:40])
    assert abs(first["ubuntu"] - first["huge"]) <= slots, one.taken
    run(one, until=180)
    assert Counter(one.taken) == {HUGE: 80, ARM_HUGE: 80, UBUNTU: 20}
    assert one.most == slots
    assert one.redelivered == 0


def test_shares_are_kept(rabbit: Rabbit, taker: Callable[..., Taker]) -> None:
    publish(rabbit, huge=60, ubuntu=60)
    one = taker(2, ubuntu=4)
    run(one, until=50)
    assert abs(Counter(one.taken[:50])[UBUNTU] - 40) <= 2, one.taken


def test_what_comes_while_a_slot_is_free_is_there_at_once(
    rabbit: Rabbit, taker: Callable[..., Taker]
) -> None:
    publish(rabbit, huge=4)
    one = taker(2)
    run(one, until=4)
    one.end_one()
    one.end_one()
    one.hear(0.3)
    publish(rabbit, ubuntu=1, huge=1)
    start = time.monotonic()
    while len(one.taken) < 6 and time.monotonic() < start + 5:
        one.connection.process_data_events(time_limit=0.05)  # pushed: nothing has to look for it
    assert sorted(one.taken[4:]) == sorted([UBUNTU, HUGE])


def test_quiet_weeks_save_up_no_turns(rabbit: Rabbit, taker: Callable[..., Taker]) -> None:
    one = taker(1)
    for number in range(20):
        publish(rabbit, ubuntu=1)
        run(one, until=number + 1)
    publish(rabbit, huge=40, ubuntu=40)
    run(one, until=50)
    rush = Counter(one.taken[22:50])  # the first may be of either: they were taken as they came
    assert abs(rush[UBUNTU] - rush[HUGE]) <= 2, one.taken


def test_runs_of_an_earlier_connection_count(rabbit: Rabbit, taker: Callable[..., Taker]) -> None:
    publish(rabbit, ubuntu=5)
    one = taker(2, elsewhere=2)
    one.hear(0.5)
    assert one.taken == []
    one.elsewhere -= 1
    one.hear()
    one.hear(0.5)
    assert len(one.taken) == 1
    one.elsewhere -= 1
    one.hear()
    one.hear(0.5)
    assert len(one.taken) == 2
    run(one, until=5)
    assert one.most == 2


def test_two_workers_share_and_send_nothing_back(rabbit: Rabbit, taker: Callable[..., Taker]) -> None:
    publish(rabbit, huge=60, ubuntu=60, ppa=5)
    both = taker(2), taker(3)
    run(*both, until=125)
    assert [one.redelivered for one in both] == [0, 0]
    assert [one.most for one in both] == [2, 3]
    assert min(len(one.taken) for one in both) > 20


def test_one_that_has_stopped_takes_no_more(rabbit: Rabbit, taker: Callable[..., Taker]) -> None:
    one = taker(1)
    publish(rabbit, ubuntu=1)
    one.hear(0.5)
    one.intake.stop()
    one.end_one()
    publish(rabbit, ubuntu=3)
    for _ in range(5):
        one.hear(0.1)
    assert one.taken == [UBUNTU]


def test_a_queue_whose_hosts_are_full_brings_no_flood(rabbit: Rabbit, taker: Callable[..., Taker]) -> None:
    publish(rabbit, ubuntu=30, huge=30)
    one = taker(2)
    for queue in (UBUNTU, HUGE, ARM_HUGE):
        one.full = {queue}  # what was asked for is on its way
        for _ in range(5):
            one.hear()
        one.end_one()
        one.end_one()
    one.full = set(QUEUES)
    for _ in range(5):
        one.hear()
        one.end_one()
    one.full = set()
    run(one, until=60)
    assert one.most <= 3  # one may come for a slot that another attempt has taken just then
    assert one.redelivered <= 3
