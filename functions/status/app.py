# SPDX-License-Identifier: AGPL-3.0-or-later
"""The status function: events of requests, running logs, and queue lengths → the index's live tables."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import pika
from sqlalchemy import Engine
from starlette.applications import Starlette

from functions.asgi import consuming, function_app, repeating, start_logging
from functions.periodic import Periodic
from functions.status.figures import metrics_route
from functions.status.registrar import Registrar
from functions.tables import Tables
from testyard.adapters.amqp import (
    STATUS_QUEUE,
    SharedPublisher,
    broker_errors,
    connect,
    declare_topology,
    hear_arrivals,
    queue_length,
)
from testyard.adapters.consumer import Consumer
from testyard.arrival import TRACE_EXCHANGE
from testyard.event import Event
from testyard.index import arrivals, index_engine, index_errors, livelog
from testyard.index.write import apply_event, set_queue_lengths
from testyard.queue import DEAD_LETTERS
from testyard.settings import Settings, load_settings

log = logging.getLogger(__name__)

#: Seconds between two looks at the queues. A look is a passive declare each: 0.3 ms, no message moves.
_LOOK_INTERVAL = 2.0


#: Seconds between two looks for logs that nobody reads any more, and how long they stay after the end:
#: readers that come a little late, or whose connection was cut, read on to the last line.
_TIDY_INTERVAL = 60.0
_LOG_STAYS = 600.0


class QueueWatch:
    """Looks at all queues over one connection, opened again after a failure."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._url = settings.broker.url.get_secret_value()
        self._engine = engine
        self._queues = settings.topology.queues()
        self._connection: pika.BlockingConnection | None = None

    def look(self) -> None:
        """Enter the lengths of all queues. Raises BrokerError, TestyardError."""
        lengths = []
        with broker_errors("look at the queues"):
            connection = self._connected()
            for name in (*(str(queue) for queue in self._queues), DEAD_LETTERS):
                found = queue_length(connection, name)
                if found:
                    lengths.append((name, *found))
        with index_errors(), self._engine.begin() as database:
            set_queue_lengths(database, lengths)

    def _connected(self) -> pika.BlockingConnection:
        if self._connection is None or not self._connection.is_open:
            self._connection = connect(self._url)
            declare_topology(self._connection.channel(), self._queues)
            if not hear_arrivals(self._connection):
                log.warning(
                    "this account may not bind to %s: requests by AMQP are known when taken", TRACE_EXCHANGE
                )
        return self._connection


def create_app() -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment."""
    start_logging()
    settings = load_settings()
    engine = index_engine(settings.database.url.get_secret_value(), writer=True)
    tables = Tables(engine)
    watch = QueueWatch(settings, engine)

    def on_event(body: bytes) -> None:
        event = Event.from_bytes(body)
        tables.ensure()
        with index_errors(), engine.begin() as connection:
            apply_event(connection, event)

    url = settings.broker.url.get_secret_value()
    publisher = SharedPublisher(url)
    # before it listens to arrivals the watch has made them
    registrar = Registrar(engine, publisher, url, map(str, settings.topology.queues()))

    def on_arrival(headers: Mapping[str, Any], body: bytes) -> None:
        tables.ensure()
        registrar.take(headers, body)

    def look() -> None:
        tables.ensure()
        watch.look()
        publisher.serve()

    def tidy() -> None:
        tables.ensure()
        with index_errors(), engine.begin() as connection:
            livelog.forget_ended(connection, before=time.time() - _LOG_STAYS)
            arrivals.forget_gone(connection, now=time.time())

    consumer = Consumer(url, STATUS_QUEUE, on_event, others={TRACE_EXCHANGE: on_arrival})
    looker = Periodic("queues", _LOOK_INTERVAL, look)
    tidier = Periodic("logs", _TIDY_INTERVAL, tidy)
    return function_app(
        [consuming("events", consumer), repeating(looker), repeating(tidier)], metrics_route(engine)
    )
