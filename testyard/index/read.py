# SPDX-License-Identifier: AGPL-3.0-or-later
"""The questions that pages and the command line ask. Each takes an open connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, literal, select

from testyard.index.rows import QueueRow, RequestRow, RequestState, RunRow, SubtestRow
from testyard.index.schema import queue_length, request, run, subtest
from testyard.run import PhaseTime


def latest_runs(connection: Connection, *, limit: int = 50) -> tuple[RunRow, ...]:
    """The runs that were completed last, newest first."""
    return _runs(connection, select(run).order_by(run.c.completed.desc(), run.c.id.desc()).limit(limit))


def package_runs(
    connection: Connection,
    source: str,
    *,
    release: str | None = None,
    architecture: str | None = None,
    limit: int = 100,
) -> tuple[RunRow, ...]:
    """A source package's runs, newest first."""
    query = select(run).where(run.c.source == source)
    if release:
        query = query.where(run.c.release == release)
    if architecture:
        query = query.where(run.c.architecture == architecture)
    return _runs(connection, query.order_by(run.c.run_id.desc()).limit(limit))


def package_matrix(connection: Connection, source: str) -> tuple[RunRow, ...]:
    """The newest run of a source package on each release and architecture, without other archives."""
    # a run with other archives says nothing of the release; its container has a longer name
    own = run.c.container == literal("autopkgtest-") + run.c.release
    newest = (
        select(run.c.release, run.c.architecture, func.max(run.c.run_id).label("run_id"))
        .where(run.c.source == source, own)
        .group_by(run.c.release, run.c.architecture)
        .subquery()
    )
    query = (
        select(run)
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
    """Runs with this request id, run id or path, with their tests, newest first."""
    run_id = reference.rstrip("/").rsplit("/", 1)[-1]
    query = select(run).where((run.c.request_id == reference) | (run.c.run_id == run_id))
    found = _runs(connection, query.order_by(run.c.completed.desc()).limit(20))
    if "/" in reference.rstrip("/"):
        found = tuple(row for row in found if str(row.path) == reference.rstrip("/"))
    return tuple(with_subtests(connection, row) for row in found)


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
    connection: Connection, states: Sequence[RequestState], *, package: str | None = None, limit: int = 200
) -> tuple[RequestRow, ...]:
    """Requests in these states (of one package), the longest known first."""
    query = select(request).where(request.c.state.in_([str(state) for state in states]))
    if package is not None:
        query = query.where(request.c.package == package)
    query = query.order_by(request.c.accepted, request.c.taken).limit(limit)
    return tuple(_request_row(found) for found in connection.execute(query))


def find_request(connection: Connection, request_id: str) -> RequestRow | None:
    """One request."""
    found = connection.execute(select(request).where(request.c.request_id == request_id)).first()
    return _request_row(found) if found else None


def queue_lengths(connection: Connection) -> tuple[QueueRow, ...]:
    """All queues by name."""
    rows = connection.execute(select(queue_length).order_by(queue_length.c.queue))
    return tuple(QueueRow(*found) for found in rows)


def known_run_ids(connection: Connection, container: str, *, since: str = "") -> frozenset[str]:
    """The paths (release/arch/prefix/source/run_id) of a container's runs that the index holds."""
    query = select(run).where(run.c.container == container, run.c.run_id >= since)
    return frozenset(str(row.path) for row in _runs(connection, query))


def _runs(connection: Connection, query: Select[Any]) -> tuple[RunRow, ...]:
    return tuple(_run_row(found) for found in connection.execute(query))


def _run_row(found: Row[Any]) -> RunRow:
    values = dict(found._mapping)
    del values["id"]
    values["triggers"] = tuple(values["triggers"].split())
    values["phases"] = tuple(PhaseTime.from_json(item) for item in values["phases"])
    return RunRow(**values)


def _request_row(found: Row[Any]) -> RequestRow:
    values = dict(found._mapping)
    values["state"] = RequestState(values["state"])
    values["phases"] = tuple(PhaseTime.from_json(item) for item in values["phases"])
    return RequestRow(**values)
