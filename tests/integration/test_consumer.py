# SPDX-License-Identifier: AGPL-3.0-or-later
"""Those who listen to a real RabbitMQ: the functions' consumer, and the watch of one request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.integration.brokers import QUEUES, channel_to, wait_for, waiting
from tests.integration.cutting import cutting
from tests.servers import Rabbit
from testyard.adapters.amqp import (
    INDEX_QUEUE,
    STATUS_QUEUE,
    Publisher,
    check_consuming,
    connect,
    declare_topology,
)
from testyard.adapters.consumer import Consumer
from testyard.adapters.deadletters import DeadLetter, dead_letters
from testyard.errors import BrokerError, ResultError, StoreError
from testyard.event import COMPLETION_EXCHANGE
from testyard.queue import DEAD_LETTERS


@contextmanager
def consuming(broker: Rabbit, handle: Callable[[bytes], None], url: str | None = None) -> Iterator[Consumer]:
    consumer = Consumer(url or broker.url, INDEX_QUEUE, handle, pause=0.05)
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
        wait_for(lambda: consumer.problem == "")
    assert sorted(seen) == [b"away"] * 3 + [b"bad", b"one", b"two"]
    assert dead_letters(broker.url) == (DeadLetter(INDEX_QUEUE, "message: no JSON object", "", b"bad"),)
    assert waiting(broker, INDEX_QUEUE) == 0


def test_a_message_that_meets_a_bug_twice_goes_aside_and_the_next_ones_are_handled(broker: Rabbit) -> None:
    seen: list[bytes] = []

    def handle(body: bytes) -> None:
        seen.append(body)
        if body == b"poison" or (body == b"once" and seen.count(b"once") == 1):
            raise OverflowError("too large to convert")

    with Publisher(broker.url) as publisher:
        for body in (b"poison", b"once", b"fine"):
            publisher.publish(COMPLETION_EXCHANGE, "", body)
    with consuming(broker, handle) as consumer:
        wait_for(lambda: waiting(broker, DEAD_LETTERS) == 1 and seen.count(b"once") == 2)
        wait_for(lambda: consumer.problem == "")
    assert dead_letters(broker.url) == (DeadLetter(INDEX_QUEUE, "a bug: OverflowError", "", b"poison"),)
    assert sorted(seen) == [b"fine", b"once", b"once", b"poison", b"poison"]
    assert waiting(broker, INDEX_QUEUE) == 0


def test_a_bug_over_a_message_that_was_handed_over_parks_it(broker: Rabbit) -> None:
    def handle(_body: bytes) -> None:
        raise ZeroDivisionError

    Consumer(broker.url, INDEX_QUEUE, handle).take(b"odd")
    assert dead_letters(broker.url) == (DeadLetter(INDEX_QUEUE, "a bug: ZeroDivisionError", "", b"odd"),)


def test_a_consumer_says_why_a_message_went_back(broker: Rabbit) -> None:
    away = threading.Event()
    away.set()

    def handle(_: bytes) -> None:
        if away.is_set():
            raise StoreError("store: away")

    with consuming(broker, handle) as consumer:
        with Publisher(broker.url) as publisher:
            publisher.publish(COMPLETION_EXCHANGE, "", b"x")
        wait_for(lambda: consumer.problem == "store: away")
        away.clear()
        wait_for(lambda: consumer.problem == "")
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


def test_a_consumer_notices_that_its_queue_was_deleted(broker: Rabbit) -> None:
    """RabbitMQ cancels the consumer, which pika tells nobody."""
    seen: list[bytes] = []
    with consuming(broker, seen.append) as consumer:
        wait_for(lambda: consumer.problem == "")
        with channel_to(broker.url) as channel:
            channel.queue_delete(INDEX_QUEUE)
        wait_for(lambda: consumer.problem != "")
        with channel_to(broker.url) as channel:
            declare_topology(channel, QUEUES)
        with Publisher(broker.url) as publisher:
            publisher.publish(COMPLETION_EXCHANGE, "", b"x")
        wait_for(lambda: seen == [b"x"])


def test_a_consumer_notices_that_its_connection_was_cut(broker: Rabbit) -> None:
    seen: list[bytes] = []
    with cutting(broker.state.ports["broker"], after=20_000, answers=True) as proxy:
        url = broker.url.replace(str(broker.state.ports["broker"]), str(proxy.port))
        with consuming(broker, seen.append, url=url) as consumer:
            wait_for(lambda: consumer.problem == "")
            with Publisher(broker.url) as publisher:
                for number in range(10):
                    publisher.publish(COMPLETION_EXCHANGE, "", bytes([number]) * 5_000)
            wait_for(lambda: len(set(seen)) == 10)
        assert proxy.cut == 1
    assert waiting(broker, INDEX_QUEUE) == 0


@contextmanager
def two_consumers(broker: Rabbit) -> Iterator[tuple[pika.BlockingConnection, BlockingChannel]]:
    with connect(broker.url) as connection:
        channel = connection.channel()
        for queue in (INDEX_QUEUE, STATUS_QUEUE):
            channel.basic_consume(queue, lambda *_: None)
        check_consuming(channel, expected=2)
        yield connection, channel


def test_a_deleted_queue_is_noticed_and_the_other_consumer_is_not_enough(broker: Rabbit) -> None:
    with two_consumers(broker) as (connection, channel):
        with channel_to(broker.url) as other:
            other.queue_delete(STATUS_QUEUE)
        wait_for(lambda: connection.process_data_events(0.05) or len(channel.consumer_tags) < 2)
        with pytest.raises(BrokerError, match="the channel was closed, or a queue is gone"):
            check_consuming(channel, expected=2)
        check_consuming(channel, expected=1)


def test_a_channel_that_the_broker_closed_is_noticed(broker: Rabbit) -> None:
    with two_consumers(broker) as (connection, channel):
        channel.basic_ack(4711)  # no such delivery: RabbitMQ closes the channel, not the connection
        with suppress(ChannelClosedByBroker):
            wait_for(lambda: connection.process_data_events(0.05) or not channel.is_open)
        assert connection.is_open
        with pytest.raises(BrokerError, match="the channel was closed"):
            check_consuming(channel, expected=2)
