# SPDX-License-Identifier: AGPL-3.0-or-later
"""The adapter with a real RabbitMQ: topology, publishing, dead letters."""

from __future__ import annotations

import socket
import time

import pika
import pytest

from tests.integration.brokers import (
    ID,
    LETTERS,
    NOBLE,
    QUEUES,
    channel_to,
    park_all,
    wait_for,
    waiting,
)
from tests.servers import Rabbit
from testyard.adapters.amqp import (
    INDEX_QUEUE,
    Publisher,
    connection_parameters,
    declare_topology,
    queue_length,
)
from testyard.adapters.deadletters import DeadLetter, dead_letters
from testyard.arrival import ACCEPTED_HEADER
from testyard.errors import BrokerError
from testyard.event import COMPLETION_EXCHANGE
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.request import make_request, parse_body


def test_declaring_again_changes_nothing(broker: Rabbit) -> None:
    with Publisher(broker.url) as publisher:
        publisher.publish_request(NOBLE, b"demo", ID)
    with channel_to(broker.url) as channel:
        declare_topology(channel, QUEUES)
        for queue in QUEUES:  # as the older system's worker declares them
            channel.queue_declare(str(queue), durable=True, auto_delete=False)
        channel.exchange_declare(COMPLETION_EXCHANGE, "fanout", durable=True, auto_delete=False)
        channel.exchange_declare("teststatus.fanout", "fanout", durable=False, auto_delete=False)
    assert waiting(broker, str(NOBLE)) == 1


def test_a_request_is_persistent_and_has_its_id(broker: Rabbit) -> None:
    before = time.time()
    with Publisher(broker.url) as publisher:
        publisher.publish_request(NOBLE, b"demo\n{}", ID)
    with channel_to(broker.url) as channel:
        method, properties, body = channel.basic_get(str(NOBLE), auto_ack=True)
    assert method is not None
    assert properties is not None
    assert (body, properties.message_id, properties.delivery_mode) == (b"demo\n{}", ID, 2)
    assert before <= float(properties.headers[ACCEPTED_HEADER]) <= time.time()


def test_a_missing_queue_is_an_error_and_nothing_is_lost_elsewhere(broker: Rabbit) -> None:
    with Publisher(broker.url) as publisher:
        publisher.publish_request(NOBLE, b"one", ID)
        with pytest.raises(BrokerError, match="there is no queue debci-jammy-amd64; nothing was sent"):
            publisher.publish_request(QueueName("ubuntu", "jammy", "amd64"), b"two", ID)
        publisher.publish_request(NOBLE, b"three", ID)  # the connection is still good
    assert waiting(broker, str(NOBLE)) == 2
    assert waiting(broker, DEAD_LETTERS) == 0


def test_a_missing_exchange_is_an_error_and_the_next_works(broker: Rabbit) -> None:
    with Publisher(broker.url) as publisher:
        with pytest.raises(BrokerError, match="cannot publish"):
            publisher.publish("nosuch", "x", b"")
        publisher.publish(COMPLETION_EXCHANGE, "", b"x")
    assert waiting(broker, INDEX_QUEUE) == 1


def test_what_was_confirmed_outlives_sigkill(broker: Rabbit) -> None:
    with Publisher(broker.url) as publisher:
        for number in range(20):
            publisher.publish_request(NOBLE, f"demo{number}".encode(), ID)
        publisher.park(b"bad", queue=str(NOBLE), reason="package: bad")
        publisher.publish(COMPLETION_EXCHANGE, "", b"done")
        broker.kill()
        with pytest.raises(BrokerError):
            publisher.publish_request(NOBLE, b"never", ID)
        broker.start()
        publisher.publish_request(NOBLE, b"again", ID)
    with channel_to(broker.url) as channel:
        bodies = [channel.basic_get(str(NOBLE), auto_ack=True)[2] for _ in range(22)]
    assert bodies == [*(f"demo{number}".encode() for number in range(20)), b"again", None]
    assert [letter.body for letter in dead_letters(broker.url)] == [b"bad"]
    assert waiting(broker, INDEX_QUEUE) == 1


def test_an_old_client(broker: Rabbit) -> None:
    with channel_to(broker.url) as channel:  # no confirms, no properties, no declaring
        channel.basic_publish("", str(NOBLE), b'demo {"triggers": ["alpha/1"]}')
    wait_for(lambda: waiting(broker, str(NOBLE)) == 1)
    with channel_to(broker.url) as channel:
        _method, properties, body = channel.basic_get(str(NOBLE), auto_ack=True)
    assert properties is not None
    assert (properties.message_id, properties.headers) == (None, None)
    assert body is not None
    assert parse_body(body) == make_request("demo", {"triggers": ["alpha/1"]})


@pytest.mark.parametrize("header", [b"AMQP\x01\x01\x09\x01", b"AMQP\x00\x00\x09\x01"])
def test_both_protocol_headers_are_welcome(broker: Rabbit, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", broker.state.ports["broker"]), timeout=10) as connection:
        connection.sendall(header)
        frame = connection.recv(11)
    assert (frame[0], frame[7:11]) == (1, b"\x00\x0a\x00\x0a")  # a method frame: connection.start


def test_queue_lengths(broker: Rabbit) -> None:
    with pika.BlockingConnection(connection_parameters(broker.url)) as connection:
        assert queue_length(connection, "nosuch") is None
        assert queue_length(connection, str(NOBLE)) == (0, 0)
        channel = connection.channel()
        channel.basic_consume(str(NOBLE), lambda *_: None)
        assert queue_length(connection, str(NOBLE)) == (0, 1)


# --- dead letters -----------------------------------------------------------------------------------


def test_dead_letters_are_seen_in_order_and_stay(broker: Rabbit) -> None:
    park_all(broker.url)
    for _ in range(3):
        assert dead_letters(broker.url) == LETTERS
        wait_for(lambda: waiting(broker, DEAD_LETTERS) == 3)


def test_a_dead_letter_of_somebody_else(broker: Rabbit) -> None:
    with channel_to(broker.url) as channel:
        channel.basic_publish("", DEAD_LETTERS, b"x")
    wait_for(lambda: waiting(broker, DEAD_LETTERS) == 1)
    assert dead_letters(broker.url) == (DeadLetter("", "", "", b"x"),)


def test_without_a_queue_for_dead_letters(broker: Rabbit) -> None:
    with channel_to(broker.url) as channel:
        channel.queue_delete(DEAD_LETTERS)
    with pytest.raises(BrokerError, match="no queue testyard-dead") as caught:
        dead_letters(broker.url)
    assert "testyard broker setup" in caught.value.resolution
    with Publisher(broker.url) as publisher, pytest.raises(BrokerError, match="no queue testyard-dead"):
        publisher.park(b"x", queue="q", reason="r")
