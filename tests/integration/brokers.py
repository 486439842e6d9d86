# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of the broker share: queues, looks into them, messages. The node is in conftest.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.servers import Rabbit
from testyard.adapters.amqp import (
    HOOKS_QUEUE,
    INDEX_QUEUE,
    NOTIFY_QUEUE,
    SHOWN_QUEUE,
    STATUS_QUEUE,
    Publisher,
    connection_parameters,
    queue_length,
)
from testyard.adapters.deadletters import DeadLetter
from testyard.event import EVENTS_EXCHANGE, Event
from testyard.queue import DEAD_LETTERS, QueueName, all_queues

ID = "11112222-3333-4444-8555-666677778888"
NOBLE = QueueName("ubuntu", "noble", "amd64")
QUEUES = all_queues(("ubuntu", "ppa"), ("noble",), ("amd64", "arm64"))
OURS = (*map(str, QUEUES), DEAD_LETTERS, HOOKS_QUEUE, INDEX_QUEUE, STATUS_QUEUE, SHOWN_QUEUE, NOTIFY_QUEUE)


LETTERS = (
    DeadLetter(str(NOBLE), "body: not UTF-8 (byte 0)", ID, b"\xff"),
    DeadLetter(INDEX_QUEUE, "message: no JSON object", "", b"[]"),
    DeadLetter(str(NOBLE), "package: '../x' is no source package name", "", b"../x"),
)


@contextmanager
def channel_to(url: str) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(connection_parameters(url)) as connection:
        yield connection.channel()


def waiting(rabbit: Rabbit, queue: str) -> int:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        found = queue_length(connection, queue)
    assert found is not None
    return found[0]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def park_all(url: str) -> None:
    with Publisher(url) as publisher:
        for letter in LETTERS:
            publisher.park(
                letter.body, queue=letter.queue, reason=letter.reason, request_id=letter.request_id
            )


def tell(url: str, *events: Event | bytes, key: str = f"log.{ID}") -> None:
    with Publisher(url) as publisher:
        for event in events:
            if isinstance(event, bytes):
                publisher.publish(EVENTS_EXCHANGE, key, event)
            else:
                publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
