# SPDX-License-Identifier: AGPL-3.0-or-later
"""Functions where nothing runs in the background, with real RabbitMQ and Swift, and Amazon's events."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from functions.serverless import Handler
from functions.serverless import index as index_handler
from functions.serverless import status as status_handler
from tests.aws import Queues, aws_queues
from tests.integration.functions.conftest import Configure
from tests.integration.functions.results import path_of, put, runs
from tests.servers import Rabbit
from testyard.adapters.amqp import INDEX_QUEUE, STATUS_QUEUE
from testyard.adapters.deadletters import dead_letters
from testyard.adapters.swift import SwiftStore
from testyard.errors import StoreError, TestyardError
from testyard.event import Event, EventKind
from testyard.index import RequestState, read

TICK = {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}, "resources": []}
ID = "33333333-3333-4444-8555-666677778888"


def fresh(handler: Handler) -> Handler:
    """The same without the app that an earlier test made."""
    return Handler(handler.create_app)


@pytest.fixture(scope="module")
def queues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queues]:
    with aws_queues(tmp_path_factory.mktemp("moto")) as found:
        yield found


def rabbit_event(queue: str, *bodies: bytes) -> dict[str, Any]:
    """What Lambda's event source for RabbitMQ sends."""
    messages = [
        {"basicProperties": {}, "redelivered": False, "data": base64.b64encode(body).decode()}
        for body in bodies
    ]
    return {"eventSource": "aws:rmq", "rmqMessagesByQueue": {f"{queue}::testyard": messages}}


def http_event(path: str) -> dict[str, Any]:
    """What API Gateway sends, format 2.0."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "function"},
        "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "192.0.2.1"}},
        "isBase64Encoded": False,
    }


def test_messages_of_sqs(
    rabbit: Rabbit, store: SwiftStore, engine: Engine, database: str, configure: Configure, queues: Queues
) -> None:
    configure(database)
    handler = fresh(index_handler)
    good = put(store, path_of(1)).to_bytes().decode()
    elsewhere = f"elsewhere-{engine.dialect.name}"
    for name in (INDEX_QUEUE, elsewhere):
        queues.make(name)
    for body in ("poison", good):
        queues.send(INDEX_QUEUE, body)
    event = queues.event(INDEX_QUEUE)
    assert len(event["Records"]) == 2
    queues.settle(INDEX_QUEUE, event, handler(event, None))
    assert queues.event(INDEX_QUEUE)["Records"] == []
    assert len(runs(engine)) == 1
    (letter,) = dead_letters(rabbit.url)
    assert letter.body == b"poison"
    queues.send(elsewhere, good)
    event = queues.event(elsewhere)
    queues.settle(elsewhere, event, handler(event, None))
    assert len(queues.event(elsewhere)["Records"]) == 1  # what nobody could take comes again


def test_messages_of_rabbitmq_and_a_tick(
    store: SwiftStore, engine: Engine, database: str, configure: Configure
) -> None:
    configure(database)
    handler = fresh(index_handler)
    message = put(store, path_of(2)).to_bytes()
    assert handler(rabbit_event(INDEX_QUEUE, message, message), None) == {}
    assert len(runs(engine)) == 1
    put(store, path_of(3))  # of which no message tells
    assert handler(TICK, None) == {}
    assert len(runs(engine)) == 2
    with pytest.raises(TestyardError, match="reads no such queue"):
        handler(rabbit_event("debci-noble-amd64", message), None)


def test_what_fails_comes_again(
    swift_away: None, engine: Engine, database: str, configure: Configure
) -> None:
    configure(database)
    with pytest.raises(StoreError):
        fresh(index_handler)(TICK, None)
    assert runs(engine) == []


def test_the_status_function(rabbit: Rabbit, engine: Engine, database: str, configure: Configure) -> None:
    configure(database)
    handler = fresh(status_handler)
    event = Event(EventKind.ACCEPTED, ID, "debci-noble-amd64", "demo", time=10.0, data={"parameters": {}})
    handler(rabbit_event(STATUS_QUEUE, event.to_bytes()), None)
    with engine.connect() as connection:
        found = read.find_request(connection, ID)
    assert found is not None
    assert found.state is RequestState.QUEUED
    handler(TICK, None)  # a look at the queues
    answer = handler(http_event("/metrics"), None)
    assert answer["statusCode"] == 200
    assert "testyard_queue_messages{" in answer["body"]
    assert json.loads(handler(http_event("/health"), None)["body"])["healthy"] is True
