# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything that runs or waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from testyard.index import RequestState, read
from web.pages.page import Page, Query
from web.pages.queues import QueueTable
from web.views import QueueView, RequestView, queue_views, request_views

#: Of requests that wait, no more are listed; the queue lengths count them all.
MOST = 200


@dataclass(frozen=True, kw_only=True)
class RunningPage(Page):
    """The context of ``/running``."""

    template: ClassVar[str] = "running.html"
    running: tuple[RequestView, ...]
    queued: tuple[RequestView, ...]
    queues: tuple[QueueView, ...]
    table: QueueTable

    @property
    def title(self) -> str:
        return f"Running: {len(self.running)}, waiting: {max(self.table.waiting, len(self.queued))}"

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": [view.to_json() for view in (*self.running, *self.queued)],
            "queues": [view.to_json() for view in self.queues],
        }


def running(query: Query) -> RunningPage:
    """What runs and waits now."""
    queues = queue_views(read.queue_lengths(query.index))
    rows = read.requests_in(query.index, [RequestState.RUNNING], limit=MOST, with_logs=True)
    views = request_views(rows, query.places)
    waiting = request_views(read.requests_in(query.index, [RequestState.QUEUED], limit=MOST), query.places)
    return RunningPage(running=views, queued=waiting, queues=queues, table=QueueTable.of(queues, empty=True))
