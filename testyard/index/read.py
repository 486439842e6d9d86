# SPDX-License-Identifier: AGPL-3.0-or-later
"""The questions that pages and the command line ask. Each takes an open connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select, tuple_

from testyard.errors import ResultError
from testyard.event import PRIVATE_PACKAGE
from testyard.index.arrivals import real_id
from testyard.index.rows import (
    OpenRequest,
    PackageRow,
    QueueRow,
    RequestRow,
    RequestState,
    RunRow,
    SubtestRow,
)
from testyard.index.schema import queue_length, request, run, subtest
from testyard.run import PhaseTime
from testyard.store import RunPath, pool_prefix

#: What lists show of a run: not the columns that may be large. Whole runs are asked for one by one.
_LISTED_RUN = tuple(column for column in run.c if column.name not in ("phases", "facts"))
_LISTED_REQUEST = tuple(column for column in request.c if column.name != "log_tail")


def latest_runs(connection: Connection, *, limit: int = 50) -> tuple[RunRow, ...]:
    """The runs that were completed last, newest first, without phases and facts."""
    query = select(*_LISTED_RUN).order_by(run.c.completed.desc(), run.c.id.desc()).limit(limit)
    return _runs(connection, query)


def packages(
    connection: Connection, *, named: str = "", offset: int = 0, limit: int = 100
) -> tuple[PackageRow, ...]:
    """The packages with public runs whose names hold ``named``, the last tested first."""
    newest = func.max(run.c.completed)
    query = (
        select(run.c.source, func.count(), newest)
        .where(~run.c.container.startswith("private-", autoescape=True))
        .group_by(run.c.source)
        .order_by(newest.desc(), run.c.source)
        .offset(offset)
        .limit(limit)
    )
    if named:
        query = query.where(run.c.source.contains(named, autoescape=True))
    return tuple(PackageRow(*found) for found in connection.execute(query))


def package_runs(
    connection: Connection,
    source: str,
    *,
    release: str | None = None,
    architecture: str | None = None,
    limit: int = 100,
) -> tuple[RunRow, ...]:
    """A source package's runs, newest first, without phases and facts."""
    query = select(*_LISTED_RUN).where(run.c.source == source)
    if release:
        query = query.where(run.c.release == release)
    if architecture:
        query = query.where(run.c.architecture == architecture)
    return _runs(connection, query.order_by(run.c.run_id.desc()).limit(limit))


def package_matrix(connection: Connection, source: str) -> tuple[RunRow, ...]:
    """The newest run of a package on each release and architecture, without phases and facts.

    Runs with other archives are left out.
    """
    # a run with other archives says nothing of the release; its container has a longer name
    own = run.c.container == literal("autopkgtest-") + run.c.release
    newest = (
        select(run.c.release, run.c.architecture, func.max(run.c.run_id).label("run_id"))
        .where(run.c.source == source, own)
        .group_by(run.c.release, run.c.architecture)
        .subquery()
    )
    query = (
        select(*_LISTED_RUN)
        .join(
            newest,
            (run.c.release == newest.c.release)
            & (run.c.architecture == newest.c.architecture)
            & (run.c.run_id == newest.c.run_id),
        )
        .where(run.c.source == source, own)
        .order_by(run.c.release, run.c.architecture)
    )
    return _runs(connection, query)


def find_runs(connection: Connection, reference: str) -> tuple[RunRow, ...]:
    """Runs with this request id, run id or path, with their tests, newest first (20 at most)."""
    if "/" in reference.rstrip("/"):
        return _runs_at(connection, reference)
    query = select(run).where((run.c.request_id == reference) | (run.c.run_id == reference.rstrip("/")))
    found = _runs(connection, query.order_by(run.c.completed.desc(), run.c.id.desc()).limit(20))
    return tuple(with_subtests(connection, row) for row in found)


def _runs_at(connection: Connection, reference: str) -> tuple[RunRow, ...]:
    try:
        path = RunPath.parse(reference)
    except ResultError:
        return ()
    query = select(run).where(
        run.c.source == path.source,
        run.c.release == path.release,
        run.c.architecture == path.architecture,
        run.c.run_id == str(path.run_id),
    )
    return tuple(with_subtests(connection, row) for row in _runs(connection, query.order_by(run.c.container)))


def with_subtests(connection: Connection, row: RunRow) -> RunRow:
    """The run with its tests."""
    query = (
        select(subtest.c.name, subtest.c.outcome, subtest.c.reason, subtest.c.seconds)
        .join(run, run.c.id == subtest.c.run)
        .where(run.c.run_id == row.run_id, run.c.source == row.source, run.c.container == row.container)
        .where(run.c.release == row.release, run.c.architecture == row.architecture)
        .order_by(subtest.c.position)
    )
    tests = tuple(SubtestRow(*found) for found in connection.execute(query))
    return RunRow(**{**row.__dict__, "subtests": tests})


def requests_in(
    connection: Connection,
    states: Sequence[RequestState],
    *,
    package: str | None = None,
    limit: int = 200,
    with_logs: bool = False,
) -> tuple[RequestRow, ...]:
    """Requests in these states (of one package), the longest known first; ``log_tail`` if asked for."""
    query = select(*(request.c if with_logs else _LISTED_REQUEST)).where(
        request.c.state.in_([str(state) for state in states])
    )
    if package is not None:
        query = query.where(request.c.package == package)
    # databases differ in where an unknown time sorts
    since = func.coalesce(request.c.accepted, request.c.taken, request.c.updated)
    query = query.order_by(since, request.c.request_id).limit(limit)
    return tuple(_request_row(found) for found in connection.execute(query))


def find_request(connection: Connection, request_id: str) -> RequestRow | None:
    """One request; also by the provisional id that it had until a worker took it."""
    found = connection.execute(select(request).where(request.c.request_id == request_id)).first()
    if found is None and (real := real_id(connection, request_id)):
        found = connection.execute(select(request).where(request.c.request_id == real)).first()
    return _request_row(found) if found else None


def request_states(connection: Connection, request_ids: Sequence[str]) -> dict[str, RequestState]:
    """The states of those that are known; ask for 10,000 at most."""
    query = select(request.c.request_id, request.c.state).where(request.c.request_id.in_(request_ids))
    return {request_id: RequestState(state) for request_id, state in connection.execute(query)}


#: What of a request's row changes whenever something is told of it.
Mark = tuple[Any, ...]
_MARKS = (request.c.state, request.c.updated, request.c.attempt, request.c.log_end, request.c.path)


def request_marks(connection: Connection, request_ids: Sequence[str]) -> dict[str, Mark]:
    """A mark of each request that is known; it differs from `mark_of` an older row. Ask for 1000 at most."""
    query = select(request.c.request_id, *_MARKS).where(request.c.request_id.in_(request_ids))
    return {found[0]: tuple(found[1:]) for found in connection.execute(query)}


def mark_of(row: RequestRow) -> Mark:
    """The mark of a row."""
    return tuple(getattr(row, column.name) for column in _MARKS)


def requests_beginning(connection: Connection, text: str) -> tuple[RequestRow, ...]:
    """Requests whose ids begin so; 20 at most."""
    query = select(*_LISTED_REQUEST).where(request.c.request_id.startswith(text, autoescape=True)).limit(20)
    return tuple(_request_row(found) for found in connection.execute(query))


@dataclass(frozen=True)
class Place:
    """A request's place in a list that has the newest first."""

    time: float
    request_id: str


@dataclass(frozen=True)
class Sought:
    """Which requests are sought; what is empty does not matter. ``public``: no private ones."""

    package: str = ""
    queues: tuple[str, ...] = ()
    state: str = ""
    requester: str = ""
    before: Place | None = None
    public: bool = False


#: When a request was made, as far as that is known.
_since = func.coalesce(request.c.accepted, request.c.taken, request.c.updated)


def place_of(row: RequestRow) -> Place:
    """Its place in a list."""
    since = row.accepted if row.accepted is not None else row.taken
    return Place(row.updated if since is None else since, row.request_id)


def find_requests(connection: Connection, sought: Sought, *, limit: int) -> tuple[RequestRow, ...]:
    """Requests, the newest first. One whose queue is not told of yet is left out."""
    query = select(*_LISTED_REQUEST).where(request.c.queue != "")
    if sought.package:
        query = query.where(request.c.package == sought.package)
    if sought.queues:
        query = query.where(request.c.queue.in_(sought.queues))
    if sought.state:
        query = query.where(request.c.state == sought.state)
    if sought.requester:
        query = query.where(request.c.parameters["requester"].as_string() == sought.requester)
    if sought.public:
        query = query.where(*_public())
    if sought.before:
        query = query.where(
            tuple_(_since, request.c.request_id) < (sought.before.time, sought.before.request_id)
        )
    query = query.order_by(_since.desc(), request.c.request_id.desc()).limit(limit)
    return tuple(_request_row(found) for found in connection.execute(query))


def _public() -> tuple[ColumnElement[bool], ...]:
    """What holds for requests of which anybody may see what they are."""
    container = func.coalesce(request.c.container, "")
    return (
        request.c.package != PRIVATE_PACKAGE,
        ~container.startswith("private-", autoescape=True),
        *(request.c.parameters[key].as_string().is_(None) for key in ("readable-by", "swiftuser")),
    )


def waiting_before(connection: Connection, queue: str, accepted: float) -> int:
    """How many known requests wait in a queue that were accepted earlier (Unix time)."""
    query = select(func.count()).where(
        request.c.queue == queue,
        request.c.state == str(RequestState.QUEUED),
        func.coalesce(request.c.accepted, request.c.updated) < accepted,
    )
    return int(connection.execute(query).scalar_one())


def taken_since(connection: Connection, queue: str, since: float) -> tuple[int, float]:
    """How many requests of a queue were taken since then, and when the first of these was (Unix time)."""
    query = select(func.count(), func.min(request.c.taken)).where(
        request.c.queue == queue, request.c.taken > since
    )
    count, first = connection.execute(query).one()
    return int(count), float(first or 0)


def queue_lengths(connection: Connection) -> tuple[QueueRow, ...]:
    """All queues by name."""
    rows = connection.execute(select(queue_length).order_by(queue_length.c.queue))
    return tuple(QueueRow(*found) for found in rows)


def oldest_waiting(connection: Connection) -> dict[str, float]:
    """When the oldest request that waits was accepted, by queue; of those that an event has told of."""
    query = (
        select(request.c.queue, func.min(request.c.accepted))
        .where(request.c.state == RequestState.QUEUED, request.c.accepted.is_not(None))
        .group_by(request.c.queue)
    )
    return {queue: float(accepted) for queue, accepted in connection.execute(query)}


def missing_runs(connection: Connection, container: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Those of the paths (release/arch/prefix/source/run_id) that the index lacks; ask for 1000 at most."""
    run_ids = [path.rpartition("/")[2] for path in paths]
    query = select(run.c.release, run.c.architecture, run.c.source, run.c.run_id).where(
        run.c.container == container, run.c.run_id.in_(run_ids)
    )
    known = {
        f"{release}/{architecture}/{pool_prefix(source)}/{source}/{run_id}"
        for release, architecture, source, run_id in connection.execute(query)
    }
    return tuple(path for path in paths if path not in known)


def open_requests(connection: Connection, *, before: float) -> tuple[OpenRequest, ...]:
    """The requests that wait or run and of which nothing was told since ``before`` (Unix time)."""
    query = select(request.c.request_id, request.c.queue, request.c.package).where(
        request.c.state.in_([str(RequestState.QUEUED), str(RequestState.RUNNING)]), request.c.updated < before
    )
    return tuple(OpenRequest(*found) for found in connection.execute(query))


def _runs(connection: Connection, query: Select[Any]) -> tuple[RunRow, ...]:
    return tuple(_run_row(found) for found in connection.execute(query))


def _run_row(found: Row[Any]) -> RunRow:
    values = dict(found._mapping)
    del values["id"]
    values["triggers"] = tuple(values["triggers"].split())
    values["phases"] = tuple(PhaseTime.from_json(item) for item in values.get("phases", ()))
    return RunRow(**values)


def _request_row(found: Row[Any]) -> RequestRow:
    values = {"log_tail": "", **found._mapping}
    values["state"] = RequestState(values["state"])
    values["phases"] = tuple(PhaseTime.from_json(item) for item in values["phases"])
    return RequestRow(**values)
