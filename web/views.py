# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run, a request and a queue as pages and their JSON twins show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from testyard.errors import RequestError
from testyard.index import QueueRow, RequestRow, RequestState, RunRow
from testyard.look.words import iso
from testyard.queue import QueueName
from testyard.result import UNKNOWN
from testyard.run import PhaseTime
from testyard.store import archive_of
from web import addresses, log, secrets
from web.addresses import Addresses, RunUrls


@dataclass(frozen=True)
class RunView:
    """One run; ``urls`` are for readers elsewhere, ``page`` is a path on this site."""

    row: RunRow
    urls: RunUrls
    page: str

    @classmethod
    def of(cls, row: RunRow, places: Addresses) -> RunView:
        """The view of a public run."""
        return cls(row, places.files(row), addresses.run(row))

    @property
    def version(self) -> str:
        """The version; empty if the package was never read."""
        return "" if self.row.version == UNKNOWN else self.row.version

    @property
    def archive(self) -> str:
        """Owner and name of the archive that was used beside the release's own; empty if there was none."""
        return archive_of(self.row.container, self.row.release)

    def to_json(self) -> dict[str, Any]:
        """As twins show it; programs rely on these keys."""
        row = self.row
        return {
            "release": row.release,
            "architecture": row.architecture,
            "source": row.source,
            "run_id": row.run_id,
            "container": row.container,
            "path": str(row.path),
            "version": row.version,
            "triggers": list(row.triggers),
            "env": row.env,
            "requester": row.requester,
            "request_id": row.request_id,
            "exit_code": row.exit_code,
            "outcome": str(row.outcome),
            "explanation": row.explanation,
            "duration": row.duration,
            "completed": iso(row.completed),
            "worker": dict(row.facts),
            "phases": [phase.to_json() for phase in row.phases],
            "tests": [dict(test.__dict__) for test in row.subtests],
            "urls": dict(self.urls.__dict__),
        }


def run_views(rows: tuple[RunRow, ...], places: Addresses) -> tuple[RunView, ...]:
    """The views of the runs that anyone may see."""
    return tuple(RunView.of(row, places) for row in secrets.public_runs(rows))


@dataclass(frozen=True)
class RequestView:
    """One request; its row holds nothing that must not be shown."""

    row: RequestRow
    queue: QueueName | None
    private: bool
    page: str
    url: str

    @classmethod
    def of(cls, row: RequestRow, places: Addresses) -> RequestView:
        """The view of a request as it came from the index."""
        shown = secrets.shown_request(row)
        page = addresses.request(row.request_id)
        return cls(shown, _queue(row.queue), secrets.hidden_request(row), page, places.page(page))

    @property
    def package_page(self) -> str | None:
        """The path of its package's page."""
        return None if self.private else addresses.package(self.row.package)

    @property
    def phase(self) -> PhaseTime | None:
        """What it is at: the phase that began last."""
        return self.phases[-1] if self.phases else None

    @property
    def phases(self) -> tuple[PhaseTime, ...]:
        """By their start: events may come in any order."""
        return tuple(sorted(self.row.phases, key=lambda phase: phase.started))

    @property
    def since(self) -> float:
        """When its present state began."""
        known = self.row.taken if self.row.state is RequestState.RUNNING else self.row.accepted
        return known if known is not None else self.row.updated

    @property
    def log_tail(self) -> str:
        """The newest lines of its log, as plain text."""
        return log.plain_text(self.row.log_tail)

    def to_json(self) -> dict[str, Any]:
        """As twins show it; programs rely on these keys."""
        row = self.row
        return {
            "request_id": row.request_id,
            **_queue_json(row.queue, self.queue),
            "package": row.package,
            "state": str(row.state),
            "accepted": row.accepted,
            "taken": row.taken,
            "updated": row.updated,
            "worker": row.worker,
            "attempt": row.attempt,
            "reason": row.reason,
            "parameters": dict(row.parameters),
            "phases": [phase.to_json() for phase in self.phases],
            "log_tail": self.log_tail,
            "log_end": row.log_end,
            "url": self.url,
            "run": row.path,
        }

    def to_live(self) -> dict[str, Any]:
        """The same for those who get its log piece by piece."""
        value = self.to_json()
        del value["log_tail"]
        return value


def request_views(rows: tuple[RequestRow, ...], places: Addresses) -> tuple[RequestView, ...]:
    """The views of several requests."""
    return tuple(RequestView.of(row, places) for row in rows)


@dataclass(frozen=True)
class QueueView:
    """One queue and what waits in it."""

    row: QueueRow
    queue: QueueName

    def to_json(self) -> dict[str, Any]:
        """As twins show it; programs rely on these keys."""
        row = self.row
        return {
            **_queue_json(row.queue, self.queue),
            "messages": row.messages,
            "consumers": row.consumers,
            "updated": row.updated,
        }


def queue_views(rows: tuple[QueueRow, ...]) -> tuple[QueueView, ...]:
    """The views of those queues that hold requests (dead letters and others are left out)."""
    named = ((row, _queue(row.queue)) for row in rows)
    return tuple(QueueView(row, queue) for row, queue in named if queue is not None)


def _queue(name: str) -> QueueName | None:
    try:
        return QueueName.parse(name)
    except RequestError:
        return None


def _queue_json(name: str, queue: QueueName | None) -> dict[str, str | None]:
    return {
        "queue": name,
        "context": queue.context if queue else None,
        "release": queue.release if queue else None,
        "architecture": queue.architecture if queue else None,
    }
