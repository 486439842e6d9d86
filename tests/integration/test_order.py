# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs of one source become visible in the order of their ids, with a real RabbitMQ and a real Swift."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.servers import Rabbit, Swift
from testyard.adapters.amqp import connect, queue_length
from testyard.adapters.swift import SwiftStore
from testyard.errors import BrokerError, CancelledRun
from testyard.queue import QueueName
from testyard.request import make_request
from testyard.result import Result
from testyard.run import RunId
from testyard.settings import Store
from testyard.store import RESULT, RunPath
from worker.execute import Bundle
from worker.order import Turn, TurnKeeper, TurnLost, queue_name
from worker.publish import Publication

WORKERS = 16
CONTAINER = "autopkgtest-sample"
QUEUE = QueueName("ubuntu", "sample", "amd64")
PARENT = "sample/amd64/g/gzip/"
PATH = RunPath("sample", "amd64", "gzip", RunId("20260101_000000_00000@"))


@pytest.fixture
def rabbit(broker_node: Rabbit) -> Rabbit:
    return broker_node


@pytest.fixture
def swift(store_node: Swift) -> Swift:
    return store_node


def store_of(swift: Swift) -> SwiftStore:
    return SwiftStore(Store(auth_version="1", auth_url=swift.auth_url, user=swift.user, key=swift.key))


def turn(url: str, cancelled: threading.Event | None = None, *, container: str = CONTAINER) -> Turn:
    return TurnKeeper(url).turn(container, PATH, cancelled or threading.Event())


class Poller(threading.Thread):
    """Asks as migration software does: only for ids greater than the greatest that it has a result of."""

    def __init__(self, store: SwiftStore) -> None:
        super().__init__()
        self._store = store
        self.stop = threading.Event()
        self.seen: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            self.look()
        self.look()

    def look(self) -> None:
        marker = self.seen[-1] if self.seen else ""
        for name in self._store.names(CONTAINER, prefix=PARENT, delimiter="@", marker=marker):
            if self._store.get(CONTAINER, f"{name}/{RESULT}") is not None:
                self.seen.append(name)


def test_who_asks_for_greater_ids_only_sees_every_run(rabbit: Rabbit, swift: Swift) -> None:
    start = threading.Barrier(WORKERS)

    def one(number: int) -> str:
        with store_of(swift) as store:
            request_id = str(uuid.uuid4())
            publication = Publication(store, make_request("gzip", {"uuid": request_id}), QUEUE, request_id)
            publication.choose_container()
            result = Result(0, "gzip", request_id=request_id)
            start.wait(60)  # all are complete in the same second
            with turn(rabbit.url) as ours:
                path = publication.choose_path()

                def slow_and_ours() -> None:
                    time.sleep(0.02 * (number % 5))
                    ours.check()

                publication.store(path, Bundle(result, b"log", b"artifacts"), time.time, slow_and_ours)
            return str(path)

    with store_of(swift) as eyes:
        poller = Poller(eyes)
        poller.start()
        with ThreadPoolExecutor(WORKERS) as pool:
            stored = list(pool.map(one, range(WORKERS)))
        poller.stop.set()
        poller.join(60)
    assert sorted(stored) == poller.seen
    assert len(set(stored)) == WORKERS


def test_only_runs_of_the_same_source_and_container_wait(rabbit: Rabbit) -> None:
    with turn(rabbit.url), turn(rabbit.url, container="autopkgtest-other") as other:
        other.check()


def test_a_queues_name_tells_of_no_private_run() -> None:
    names = {queue_name(f"private-autopkgtest-{name}", PATH) for name in ("noble", "noble-owner-ppa")}
    assert names == {"testyard-order-private"}
    assert queue_name("autopkgtest-noble", PATH) != queue_name("autopkgtest-jammy", PATH)


def _wait_until_waiting(rabbit: Rabbit, number: int) -> None:
    deadline = time.monotonic() + 30
    with connect(rabbit.url) as connection:
        while (queue_length(connection, queue_name(CONTAINER, PATH)) or (0, 0))[1] < number:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_turns_come_in_the_order_of_asking(rabbit: Rabbit) -> None:
    order: list[int] = []

    def wait(number: int) -> None:
        with turn(rabbit.url):
            order.append(number)

    threads = []
    with turn(rabbit.url):
        for number in range(5):
            threads.append(threading.Thread(target=wait, args=(number,)))
            threads[-1].start()
            _wait_until_waiting(rabbit, number + 2)
        assert order == []
    for thread in threads:
        thread.join(20)
    assert order == list(range(5))


def test_who_is_told_to_stop_waits_no_longer_and_stands_in_nobodys_way(rabbit: Rabbit) -> None:
    cancelled = threading.Event()
    with turn(rabbit.url):
        threading.Timer(0.5, cancelled.set).start()
        with pytest.raises(CancelledRun), turn(rabbit.url, cancelled):
            pytest.fail("two have the turn")
    for _ in range(3):  # what the one that left has left over is nobody else's turn
        with turn(rabbit.url) as next_one:
            next_one.check()


def _check_for_a_while(ours: Turn) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ours.check()
        time.sleep(0.05)


@pytest.fixture
def outage(rabbit: Rabbit) -> Iterator[Callable[[], None]]:
    down = False

    def kill() -> None:
        nonlocal down
        rabbit.kill()
        down = True

    yield kill
    if down:
        rabbit.start()


def test_one_at_a_time_whoever_comes_and_goes(rabbit: Rabbit) -> None:
    keepers = [TurnKeeper(rabbit.url) for _ in range(3)]
    sources = [replace(PATH, source=f"source{number}") for number in range(3)]
    having: dict[str, int] = dict.fromkeys((source.source for source in sources), 0)

    def work(number: int) -> int:
        never = threading.Event()
        for step in range(40):
            source = sources[(number * 7 + step * step) % 3]
            with keepers[number % 3].turn(CONTAINER, source, never) as ours:
                having[source.source] += 1
                assert having[source.source] == 1
                ours.check()
                having[source.source] -= 1
        return 40

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(work, range(12), timeout=60)) == 12 * 40
    for keeper in keepers:
        keeper.close()


def test_a_turn_that_the_broker_has_lost_is_noticed(rabbit: Rabbit, outage: Callable[[], None]) -> None:
    with turn(rabbit.url) as ours:
        ours.check()
        outage()
        with pytest.raises(TurnLost):
            _check_for_a_while(ours)
    with pytest.raises(BrokerError, match="cannot connect"), turn(rabbit.url):
        pytest.fail("nobody can have it")
