# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a request that waits will start."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine

from testyard.event import Event, EventKind
from testyard.index.read import find_request
from testyard.index.write import apply_event
from testyard.request import new_request_id
from testyard.settings import Settings
from web.addresses import Addresses
from web.api.status import status_of

QUEUE = "debci-noble-amd64"


@pytest.mark.parametrize(
    ("taken", "position", "seconds"),
    [
        ((), 3, None),
        ((100.0, 200.0, 300.0), 3, 300),  # a young instance: one in 100 s
        ((5.0,), 3, 180),
        ((3600.0, 7200.0), 3, 10800),
        ((4 * 3600.0,), 3, None),  # of what was long ago nothing follows
    ],
)
def test_an_estimate_follows_the_queues_pace(
    engine: Engine, taken: tuple[float, ...], position: int, seconds: float | None
) -> None:
    now = time.time()
    with engine.begin() as index:
        for ago in taken:
            request_id = new_request_id()
            apply_event(index, Event(EventKind.ACCEPTED, request_id, QUEUE, "gzip", now - ago - 1))
            apply_event(index, Event(EventKind.TAKEN, request_id, QUEUE, "gzip", now - ago))
        waiting = [new_request_id() for _ in range(position)]
        for number, request_id in enumerate(waiting):
            apply_event(index, Event(EventKind.ACCEPTED, request_id, QUEUE, "gzip", now - 10 + number))
        row = find_request(index, waiting[-1])
        assert row is not None
        found = status_of(row, Addresses.of(Settings()), may_see=True, index=index)
    assert found.position == position
    start = found.estimated_start and found.estimated_start.timestamp() - now
    assert start == (None if seconds is None else pytest.approx(seconds, abs=5))
