# SPDX-License-Identifier: AGPL-3.0-or-later
"""The index function: completion messages and sweeps → the index."""

from __future__ import annotations

import logging

from starlette.applications import Starlette

from functions.asgi import Background, function_app
from functions.index.indexer import Indexer
from functions.periodic import Periodic
from testyard.adapters.amqp import INDEX_QUEUE
from testyard.adapters.consumer import Consumer
from testyard.adapters.swift import SwiftStore
from testyard.index import open_index
from testyard.settings import load_settings

log = logging.getLogger(__name__)


def create_app() -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    settings = load_settings()
    engine = open_index(settings.database.url.get_secret_value(), writer=True)
    # a store connection serves one thread
    by_event = Indexer(SwiftStore(settings.store), engine)
    by_sweep = Indexer(SwiftStore(settings.store), engine)
    consumer = Consumer(settings.broker.url.get_secret_value(), INDEX_QUEUE, by_event.on_completion)

    def sweep() -> None:
        found = by_sweep.sweep()
        if found:
            log.info("the sweep found %d runs that no message told of", found)

    sweeper = Periodic("sweep", settings.index.sweep_interval, sweep)
    return function_app(
        [
            Background("events", consumer.run, consumer.stop, lambda: consumer.problem),
            Background("sweep", sweeper.run, sweeper.stop, lambda: sweeper.problem),
        ]
    )
