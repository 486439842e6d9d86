# SPDX-License-Identifier: AGPL-3.0-or-later
"""What fills the index. Each function may be called again with the same input, in any order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from testyard.event import Event, EventKind
from testyard.index.engine import insert_for
from testyard.index.rows import RequestState
from testyard.index.schema import queue_length, request, run, subtest
from testyard.result import Result
from testyard.run import Phase, PhaseTime, RunId
from testyard.store import RunPath

#: Test code writes summary and testinfo: of what it wrote the index takes no more.
MOST_SUBTESTS = 1000
LONGEST_TEXT = 500

#: How much of a running test's log the index keeps, in characters; the rest is in the store later.
LOG_TAIL = 32 * 1024


def record_run(connection: Connection, container: str, path: RunPath, result: Result) -> bool:
    """Enter a run and its tests; False if it was there already.

    Raises ResultError if the run id holds no valid time.
    """
    insert = insert_for(connection.dialect)
    completed = path.run_id.time.timestamp()
    statement = (
        insert(run)
        .values(
            container=container,
            release=path.release,
            architecture=path.architecture,
            source=path.source,
            run_id=str(path.run_id),
            version=result.version,
            triggers=" ".join(result.triggers),
            env=_shown_env(result),
            requester=result.requester,
            request_id=result.request_id,
            exit_code=result.exit_code,
            duration=result.duration,
            completed=completed,
            phases=[phase.to_json() for phase in result.phases],
            facts={**_testbed_facts(result), **dict(result.worker)},
        )
        .on_conflict_do_nothing()
        .returning(run.c.id)
    )
    run_key = connection.execute(statement).scalar()
    if run_key is None:
        return False
    _record_subtests(connection, run_key, result)
    if result.request_id:
        _close_request(connection, result.request_id, container, path)
    return True


def _record_subtests(connection: Connection, run_key: int, result: Result) -> None:
    seconds = {phase.test: phase.seconds for phase in result.phases if phase.phase is Phase.TEST}
    rows = [
        {
            "run": run_key,
            "position": position,
            "name": test.name[:LONGEST_TEXT],
            "outcome": test.outcome,
            "reason": test.reason[:LONGEST_TEXT],
            "seconds": seconds.get(test.name),
        }
        for position, test in enumerate(result.subtests[:MOST_SUBTESTS])
    ]
    if rows:
        connection.execute(subtest.insert(), rows)


def _close_request(connection: Connection, request_id: str, container: str, path: RunPath) -> None:
    connection.execute(
        update(request)
        .where(request.c.request_id == request_id)
        .values(state=str(RequestState.DONE), container=container, path=str(path), log_tail="")
    )


def _testbed_facts(result: Result) -> dict[str, Any]:
    keys = ("virt_server", "kernel_version", "nproc", "cpu_model")
    return {key: result.testinfo[key] for key in keys if key in result.testinfo}


def _shown_env(result: Result) -> str:
    environment = result.testinfo.get("custom_environment")
    items = environment if isinstance(environment, list) else []
    return ",".join(str(item) for item in items if not str(item).startswith("ADT_TEST_TRIGGERS="))


def apply_event(connection: Connection, event: Event) -> None:
    """Bring a request's row up to date with one step of it.

    State, worker, place and reason come out the same in whatever order the steps are told, and how
    often. The live part (phases, log, attempts) may lack what was told too late.
    """
    _ensure_request(connection, event)
    known = connection.execute(
        select(request).where(request.c.request_id == event.request_id).with_for_update()
    ).one()
    changes = {**_description(event), **_changes(dict(known._mapping), event)}
    if changes:
        connection.execute(update(request).where(request.c.request_id == event.request_id).values(**changes))


def _ensure_request(connection: Connection, event: Event) -> None:
    insert = insert_for(connection.dialect)
    statement = (
        insert(request)
        .values(
            request_id=event.request_id,
            queue=event.queue,
            package=event.package,
            state=str(RequestState.QUEUED),
            updated=event.time,
        )
        .on_conflict_do_nothing()
        .returning(request.c.request_id)
    )
    if connection.execute(statement).scalar() is None:
        return
    # its run may be here before anything was heard of it
    stored = connection.execute(select(run).where(run.c.request_id == event.request_id).limit(1)).first()
    if stored is not None:
        path = RunPath(stored.release, stored.architecture, stored.source, RunId(stored.run_id))
        _close_request(connection, event.request_id, stored.container, path)


def _description(event: Event) -> dict[str, Any]:
    """What does not change from step to step; a rejected body may have hidden it."""
    found: dict[str, Any] = {}
    if event.package:
        found["package"] = event.package
    if event.data.get("parameters"):
        found["parameters"] = event.data["parameters"]
    if event.kind is EventKind.ACCEPTED:
        found["accepted"] = event.time
    return found


def _changes(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    if event.kind is EventKind.ACCEPTED:
        return {}
    if event.kind is EventKind.STORED:
        return _stored(known, event)
    if known["state"] == RequestState.DONE or _superseded(known, event):
        return {}
    change = _CHANGES[event.kind](known, event)
    return {"updated": event.time, **change} if change else {}


def _superseded(known: Mapping[str, Any], event: Event) -> bool:
    """True if a later step is known: the last taking, or the last giving back."""
    again = event.kind is EventKind.TAKEN  # the same one told twice must not begin anew
    if known["taken"] is not None and (
        event.time < known["taken"] or (again and event.time == known["taken"])
    ):
        return True
    given_back = known["state"] == RequestState.REJECTED or (
        known["state"] == RequestState.QUEUED and known["reason"]
    )
    return bool(given_back) and event.time < known["updated"]


def _taken(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {
        "state": str(RequestState.RUNNING),
        "taken": event.time,
        "worker": str(event.data.get("worker", "")),
        "attempt": known["attempt"] + 1,
        "phases": [],
        "log_tail": "",
        "log_end": 0,
        "reason": "",
    }


def _phase(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    if known["state"] != RequestState.RUNNING:
        return {}
    told = PhaseTime.from_json(event.data)
    phases = {_phase_key(phase): phase for phase in map(PhaseTime.from_json, known["phases"])}
    if told.seconds is not None or _phase_key(told) not in phases:  # its end may be told before its start
        phases[_phase_key(told)] = told
    return {"phases": [phase.to_json() for phase in sorted(phases.values(), key=lambda p: p.started)]}


def _phase_key(phase: PhaseTime) -> tuple[Phase, str | None, float]:
    return phase.phase, phase.test, phase.started


def _log(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    end = int(event.data.get("end", 0))
    if known["state"] != RequestState.RUNNING or end <= known["log_end"]:
        return {}
    text = str(event.data.get("text", "")).replace("\0", "\N{REPLACEMENT CHARACTER}")  # no column takes NUL
    return {"log_tail": (known["log_tail"] + text)[-LOG_TAIL:], "log_end": end}


def _stored(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {
        "state": str(RequestState.DONE),
        "updated": max(known["updated"], event.time),
        "container": event.data.get("container") or known["container"],
        "path": event.data.get("path") or known["path"],
        "log_tail": "",
        "reason": "",
    }


def _returned(_known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {"state": str(RequestState.QUEUED), "reason": str(event.data.get("reason") or "given back")}


def _rejected(_known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {"state": str(RequestState.REJECTED), "reason": str(event.data.get("reason", ""))}


_CHANGES = {
    EventKind.TAKEN: _taken,
    EventKind.PHASE: _phase,
    EventKind.LOG: _log,
    EventKind.RETURNED: _returned,
    EventKind.REJECTED: _rejected,
}


def set_queue_lengths(connection: Connection, lengths: Sequence[tuple[str, int, int]]) -> None:
    """Enter what was seen just now: queue, messages, consumers each."""
    insert = insert_for(connection.dialect)
    for queue, messages, consumers in lengths:
        values = {"messages": messages, "consumers": consumers, "updated": time.time()}
        connection.execute(
            insert(queue_length)
            .values(queue=queue, **values)
            .on_conflict_do_update(index_elements=["queue"], set_=values)
        )
