# SPDX-License-Identifier: AGPL-3.0-or-later
"""The first page: what runs, what waits, what came out last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from testyard.index import RequestState, read
from web.pages.page import Page, Query
from web.pages.queues import QueueTable
from web.views import QueueView, RequestView, RunView, queue_views, request_views, run_views

#: Longer lists are on /running.
SHOWN_REQUESTS = 20
LATEST = 40


@dataclass(frozen=True, kw_only=True)
class HomePage(Page):
    """The context of ``/``."""

    template: ClassVar[str] = "home.html"
    running: tuple[RequestView, ...]
    queued: tuple[RequestView, ...]
    queues: tuple[QueueView, ...]
    table: QueueTable
    latest: tuple[RunView, ...]

    @property
    def title(self) -> str:
        return "Testyard"

    def to_json(self) -> dict[str, Any]:
        return {
            "running": [view.to_json() for view in self.running],
            "queued": [view.to_json() for view in self.queued],
            "queues": [view.to_json() for view in self.queues],
            "latest": [view.to_json() for view in self.latest],
        }


def home(query: Query) -> HomePage:
    """The first page."""
    running = read.requests_in(query.index, [RequestState.RUNNING])
    queued = read.requests_in(query.index, [RequestState.QUEUED], limit=SHOWN_REQUESTS)
    queues = queue_views(read.queue_lengths(query.index))
    return HomePage(
        running=request_views(running, query.places),
        queued=request_views(queued, query.places),
        queues=queues,
        table=QueueTable.of(queues, empty=False),
        latest=run_views(read.latest_runs(query.index, limit=LATEST), query.places),
    )
