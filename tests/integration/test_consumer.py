# SPDX-License-Identifier: AGPL-3.0-or-later
"""Those who listen to a real RabbitMQ: the functions' consumer, and the watch of one request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.integration.brokers import ID, NOBLE, QUEUES, channel_to, tell, wait_for, waiting
from tests.servers import Rabbit
from testyard.adapters.amqp import INDEX_QUEUE, DeadLetter, Publisher, dead_letters, declare_topology
from testyard.adapters.consumer import Consumer
from testyard.adapters.watch import RequestWatch
from testyard.errors import ResultError, StoreError
from testyard.event import COMPLETION_EXCHANGE, Event, EventKind
from testyard.queue import DEAD_LETTERS


@contextmanager
def consuming(broker: Rabbit, handle: Callable[[bytes], None]) -> Iterator[Consumer]:
    consumer = Consumer(broker.url, INDEX_QUEUE, handle, pause=0.05)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield consumer
    finally:
        consumer.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_consumer_settles_each_message_once(broker: Rabbit) -> None:
    seen: list[bytes] = []

    def handle(body: bytes) -> None:
        seen.append(body)
        if body == b"bad":
            raise ResultError("message: no JSON object")
        if body == b"away" and seen.count(b"away") < 3:
            raise StoreError("store: away")

    with Publisher(broker.url) as publisher:
        for body in (b"one", b"bad", b"away", b"two"):
            publisher.publish(COMPLETION_EXCHANGE, "", body)
    with consuming(broker, handle) as consumer:
        wait_for(lambda: seen.count(b"away") == 3 and b"two" in seen)
        wait_for(lambda: waiting(broker, DEAD_LETTERS) == 1)
        assert consumer.problem == ""
    assert sorted(seen) == [b"away"] * 3 + [b"bad", b"one", b"two"]
    assert dead_letters(broker.url) == (DeadLetter(INDEX_QUEUE, "message: no JSON object", "", b"bad"),)
    assert waiting(broker, INDEX_QUEUE) == 0


def test_a_consumer_waits_for_its_queue(broker: Rabbit) -> None:
    with channel_to(broker.url) as channel:
        channel.queue_delete(INDEX_QUEUE)
    seen: list[bytes] = []
    with consuming(broker, seen.append) as consumer:
        wait_for(lambda: "NOT_FOUND" in consumer.problem)
        with channel_to(broker.url) as channel:
            declare_topology(channel, QUEUES)
        with Publisher(broker.url) as publisher:
            publisher.publish(COMPLETION_EXCHANGE, "", b"x")
        wait_for(lambda: seen == [b"x"])
        assert consumer.problem == ""


def test_a_watch_hears_its_own_request_to_the_end(broker: Rabbit) -> None:
    taken = Event(EventKind.TAKEN, ID, str(NOBLE), "demo", data={"worker": "w1"})
    stored = Event(EventKind.STORED, ID, str(NOBLE), "demo")
    other = Event(EventKind.STORED, "other", str(NOBLE), "demo")
    with RequestWatch(broker.url, ID) as watch:
        tell(broker.url, other, taken, b"no event", stored, taken)
        heard = [event for event in watch.events(tick=0.05) if event is not None]
    assert heard == [taken, stored]


def test_a_watch_ticks_in_silence(broker: Rabbit) -> None:
    with RequestWatch(broker.url, ID) as watch:
        assert next(watch.events(tick=0.05)) is None
