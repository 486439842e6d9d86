# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request as the API tells of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from testyard.errors import RequestError, ResultError
from testyard.index import RequestRow, RequestState, RunRow
from testyard.index.read import find_runs, taken_since, waiting_before
from testyard.openapi.models import LogAddresses, Outcome, Stage, Status
from testyard.queue import QueueName
from testyard.run import PhaseTime
from testyard.store import RunPath
from web.addresses import Addresses
from web.secrets import hidden_request, public_runs, shown_request
from web.views import RequestView, RunView

#: Seconds over which a queue's pace is measured at most, and at least.
_PACE = 3 * 3600.0
_LEAST_PACE = 60.0
_LOGGED = (RequestState.RUNNING, RequestState.DONE)


def status_of(
    row: RequestRow, places: Addresses, *, may_see: bool, index: Connection | None = None
) -> Status:
    """What whoever asks may know of a request. With ``index`` also its place in the queue, or its result."""
    private = hidden_request(row)
    shown = RequestView.of(row, places) if private and not may_see else _whole(row, places)
    row, queue = shown.row, shown.queue
    position, start = _wait(index, row) if index is not None else (None, None)
    stage = shown.phase if row.state is RequestState.RUNNING else None
    page = places.page(f"/requests/{row.request_id}")
    return Status(
        id=row.request_id,
        state=row.state.value,
        private=private,
        package=row.package,
        release=queue.release if queue else None,
        arch=queue.architecture if queue else None,
        context=queue.context if queue else None,
        queue=row.queue,
        requester=_text(row.parameters.get("requester")),
        triggers=_triggers(row.parameters.get("triggers")),
        parameters={key: value for key, value in row.parameters.items() if key != "uuid"},
        accepted=_time(row.accepted),
        started=_time(row.taken),
        updated=datetime.fromtimestamp(row.updated, UTC),
        position=position,
        estimated_start=_time(start),
        attempt=row.attempt,
        stage=_stage(stage),
        reason=row.reason,
        log=_log(row, page) if not private else None,
        result=_result(index, row, places) if index is not None and not private else None,
        status=places.page(f"/api/v1/requests/{row.request_id}"),
        page=page,
    )


def _whole(row: RequestRow, places: Addresses) -> RequestView:
    """Of a private one too, without its secrets."""
    masked = shown_request(row, whole=True)
    try:
        queue: QueueName | None = QueueName.parse(row.queue)
    except RequestError:
        queue = None
    return RequestView(masked, queue, hidden_request(row), "", "")


def _wait(index: Connection, row: RequestRow) -> tuple[int | None, float | None]:
    if row.state is not RequestState.QUEUED:
        return None, None
    before = waiting_before(index, row.queue, row.accepted if row.accepted is not None else row.updated)
    now = time.time()
    taken, first = taken_since(index, row.queue, now - _PACE)
    if not taken:
        return before + 1, None
    # of a young instance, or a queue that was empty for long, three hours would say nothing
    return before + 1, now + (before + 1) * max(now - first, _LEAST_PACE) / taken


def _log(row: RequestRow, page: str) -> LogAddresses | None:
    if row.state not in _LOGGED:
        return None
    return LogAddresses(text=f"{page}/log", events=f"{page}/log.events", json_=f"{page}/log.json")


def _result(index: Connection, row: RequestRow, places: Addresses) -> Outcome | None:
    if row.state is not RequestState.DONE or row.path is None:
        return None
    try:
        RunPath.parse(row.path)
    except ResultError:
        return None
    found = public_runs(find_runs(index, row.path))
    # a path has a run in each container of the same second: the one of this request
    run = next((run for run in found if run.request_id in (row.request_id, None)), None)
    return _outcome(run, places) if run else None


def _outcome(run: RunRow, places: Addresses) -> Outcome:
    view = RunView.of(run, places)
    return Outcome(
        outcome=str(run.outcome),
        exit_code=run.exit_code,
        explanation=run.explanation,
        version=run.version,
        duration=run.duration,
        completed=datetime.fromtimestamp(run.completed, UTC),
        run_id=run.run_id,
        path=str(run.path),
        page=view.urls.page,
        log=view.urls.log,
        artifacts=view.urls.artifacts,
        result=view.urls.result,
    )


def _stage(phase: PhaseTime | None) -> Stage | None:
    if phase is None:
        return None
    started = datetime.fromtimestamp(phase.started, UTC)
    return Stage(name=str(phase.phase), test=phase.test, started=started, seconds=phase.seconds)


def _time(value: float | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _triggers(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return tuple(word for item in items if isinstance(item, str) for word in item.split())
