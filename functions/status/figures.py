# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queue lengths and ages, in Prometheus' text form (docs/messages.md lists them)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from testyard.errors import TestyardError
from testyard.index import index_errors
from testyard.index.read import oldest_waiting, queue_lengths


class Queues(Collector):
    """What the index knows of the queues when somebody asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """See `Collector`. Raises TestyardError if the index cannot be read."""
        waiting = GaugeMetricFamily("testyard_queue_messages", "Requests that wait.", labels=["queue"])
        consumers = GaugeMetricFamily("testyard_queue_consumers", "Workers that listen.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "testyard_queue_oldest_seconds", "Age of the oldest request that waits.", labels=["queue"]
        )
        with index_errors(), self._engine.connect() as connection:
            lengths, accepted = queue_lengths(connection), oldest_waiting(connection)
        for row in lengths:
            waiting.add_metric([row.queue], row.messages)
            consumers.add_metric([row.queue], row.consumers)
            age = time.time() - accepted[row.queue] if row.queue in accepted and row.messages else 0.0
            oldest.add_metric([row.queue], max(0.0, age))
        yield from (waiting, consumers, oldest)


def metrics_route(engine: Engine) -> Route:
    """``GET /metrics``; 503 if the index cannot be read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Queues(engine))

    async def metrics(_request: Request) -> Response:
        try:
            text = await run_in_threadpool(generate_latest, registry)
        except TestyardError as error:
            return PlainTextResponse(f"{error.brief}\n", status_code=503)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", metrics)
