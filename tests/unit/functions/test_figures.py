# SPDX-License-Identifier: AGPL-3.0-or-later
"""The queues' figures, as Prometheus would fetch them from the status function."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette

from functions.status.figures import metrics_route
from testyard.event import Event, EventKind
from testyard.index import open_index
from testyard.index.write import apply_event, set_queue_lengths
from testyard.request import new_request_id

QUEUE = "debci-noble-amd64"


def fetched(engine: Engine) -> httpx.Response:
    async def fetch() -> httpx.Response:
        app = Starlette(routes=[metrics_route(engine)])
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://function"
        ) as client:
            return await client.get("/metrics")

    return asyncio.run(fetch())


def test_lengths_and_ages(engine: Engine) -> None:
    now = time.time()
    with engine.begin() as connection:
        set_queue_lengths(connection, [(QUEUE, 3, 2), ("debci-huge-noble-amd64", 0, 1)])
        for age in (50, 500, 5):
            event = Event(EventKind.ACCEPTED, new_request_id(), QUEUE, "gzip", now - age)
            apply_event(connection, event)
            if age == 500:
                apply_event(connection, replace(event, kind=EventKind.TAKEN, data={"worker": "one"}))
    text = fetched(engine).text
    assert f'testyard_queue_messages{{queue="{QUEUE}"}} 3.0' in text
    assert f'testyard_queue_consumers{{queue="{QUEUE}"}} 2.0' in text
    ages = dict(re.findall(r'testyard_queue_oldest_seconds{queue="([^"]+)"} ([0-9.]+)', text))
    assert 50 <= float(ages[QUEUE]) < 500
    assert float(ages["debci-huge-noble-amd64"]) == 0


def test_an_index_that_cannot_be_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("gone")
    engine = open_index(f"sqlite:///{folder}/index.db", writer=True)
    engine.dispose()
    (folder / "index.db").write_bytes(b"no database" * 1000)
    answer = fetched(engine)
    assert (answer.status_code, "index" in answer.text) == (503, True)
