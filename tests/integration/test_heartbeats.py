# SPDX-License-Identifier: AGPL-3.0-or-later
"""A broker that stands still, and connections that nobody uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.brokers import wait_for, waiting
from tests.servers import Rabbit
from testyard.adapters.amqp import INDEX_QUEUE, STATUS_QUEUE, Publisher
from testyard.adapters.consumer import Consumer
from testyard.errors import BrokerError
from testyard.event import COMPLETION_EXCHANGE, EVENTS_EXCHANGE
from worker.live import LiveSender, Message

#: pika looks at intervals of a heartbeat and 5 s; a silent broker is seen at the second look at the latest.
NOTICED = 2 * (1 + 5) + 8
SILENCE = b"missed heartbeats from client"


def url_of(broker: Rabbit) -> str:
    return f"{broker.url}?heartbeat=1"


@contextmanager
def live(broker: Rabbit) -> Iterator[LiveSender]:
    sender = LiveSender(url_of(broker))
    sender.start()
    yield sender
    sender.finish(20)
    assert not sender.is_alive()


def test_a_frozen_broker_is_noticed_and_all_go_on_afterwards(broker: Rabbit) -> None:
    seen: list[bytes] = []
    consumer = Consumer(url_of(broker), INDEX_QUEUE, seen.append, pause=0.1)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    with live(broker) as sender, Publisher(url_of(broker)) as publisher:
        try:
            publisher.publish(COMPLETION_EXCHANGE, "", b"before")
            sender.send(Message(EVENTS_EXCHANGE, "log.x", b"before"))
            wait_for(lambda: seen == [b"before"] and waiting(broker, STATUS_QUEUE) == 1)
            with broker.frozen():
                frozen = time.monotonic()
                sender.send(Message(EVENTS_EXCHANGE, "log.x", b"meanwhile"))
                with pytest.raises(BrokerError, match="cannot publish"):
                    publisher.publish(COMPLETION_EXCHANGE, "", b"lost")
                wait_for(lambda: consumer.problem != "", NOTICED)
                assert time.monotonic() - frozen < NOTICED
            wait_for(lambda: consumer.problem == "", 40)
            publisher.publish(COMPLETION_EXCHANGE, "", b"after")
            wait_for(lambda: b"after" in seen)
            wait_for(lambda: waiting(broker, STATUS_QUEUE) >= 2, 40)
        finally:
            consumer.stop()
            thread.join(20)
    assert not thread.is_alive()


def test_an_idle_connection_lives_if_it_is_served_and_is_opened_again_if_not(broker: Rabbit) -> None:
    def closed() -> int:
        return broker.log.read_bytes().count(SILENCE)

    before = closed()
    with live(broker) as sender, Publisher(url_of(broker)) as unserved:
        sender.send(Message(EVENTS_EXCHANGE, "log.x", b"one"))
        unserved.publish(COMPLETION_EXCHANGE, "", b"one")
        wait_for(lambda: waiting(broker, STATUS_QUEUE) == 1)
        wait_for(lambda: closed() == before + 1)  # after two heartbeats
        time.sleep(1.5)  # the sender's connection is as old, and would be closed by now
        sender.send(Message(EVENTS_EXCHANGE, "log.x", b"two"))
        wait_for(lambda: waiting(broker, STATUS_QUEUE) == 2)
        unserved.publish(COMPLETION_EXCHANGE, "", b"two")
        assert waiting(broker, INDEX_QUEUE) == 2
    assert closed() == before + 1
