# SPDX-License-Identifier: AGPL-3.0-or-later
"""The index function: completion messages and sweeps → the index."""

from __future__ import annotations

import logging

from starlette.applications import Starlette

from functions.asgi import consuming, function_app, repeating, start_logging
from functions.index.claims import end_finished
from functions.index.indexer import Indexer
from functions.index.removals import forget_removals
from functions.index.tidying import Tidier
from functions.periodic import Periodic
from functions.tables import Tables
from testyard.adapters.amqp import INDEX_QUEUE
from testyard.adapters.consumer import Consumer
from testyard.adapters.swift import SwiftStore
from testyard.index import index_engine
from testyard.settings import load_settings

log = logging.getLogger(__name__)


def create_app() -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment."""
    start_logging()
    settings = load_settings()
    engine = index_engine(settings.database.url.get_secret_value(), writer=True)
    tables = Tables(engine)
    # a store connection serves one thread
    by_event = Indexer(SwiftStore(settings.store), engine)
    store = SwiftStore(settings.store)
    by_sweep = Indexer(store, engine)

    def on_completion(body: bytes) -> None:
        tables.ensure()
        by_event.on_completion(body)

    def sweep() -> None:
        tables.ensure()
        if found := by_sweep.sweep():
            log.info("the sweep found %d runs that no message told of", found)
        if ended := end_finished(store, engine):
            log.info("the sweep found the end of %d requests that no message told of", ended)
        if left := forget_removals(store, engine):
            log.info("%d messages that were to be removed are gone", left)

    consumer = Consumer(settings.broker.url.get_secret_value(), INDEX_QUEUE, on_completion)
    works = [repeating(Periodic("sweep", settings.index.sweep_interval, sweep))]
    if settings.intake.tidy_interval:
        tidier = Tidier(settings, engine, SwiftStore(settings.store))

        def tidy() -> None:
            tables.ensure()
            tidier.tidy()

        works.append(repeating(Periodic("tidy", settings.intake.tidy_interval, tidy)))
    return function_app([consuming("events", consumer), *works])
