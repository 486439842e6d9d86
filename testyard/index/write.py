# SPDX-License-Identifier: AGPL-3.0-or-later
"""What fills the index. Each function may be called again with the same input, in any order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, select, update

from testyard.event import PRIVATE_PACKAGE, Event, EventKind
from testyard.index import arrivals, limits, livelog
from testyard.index.engine import insert_for
from testyard.index.rows import RequestState
from testyard.index.schema import queue_length, request, run, subtest
from testyard.livelog import LogPiece, left_out_line
from testyard.result import Result
from testyard.run import Phase, PhaseTime
from testyard.store import RunPath

#: How much of a running test's log stands with its request, for lists, in characters.
LOG_TAIL = 4 * 1024


def record_run(connection: Connection, container: str, path: RunPath, result: Result) -> bool:
    """Enter a run and its tests, and end its request; False if it was there already.

    Raises ResultError if the run id holds no valid time.
    """
    insert = insert_for(connection.dialect)
    completed = path.run_id.time.timestamp()
    request_id = _request_id(result)
    statement = (
        insert(run)
        .values(
            container=container,
            release=path.release,
            architecture=path.architecture,
            source=path.source,
            run_id=str(path.run_id),
            version=limits.text(result.version),
            triggers=limits.joined(result.triggers, " "),
            env=limits.joined(_shown_env(result), ","),
            requester=None if result.requester is None else limits.text(result.requester),
            request_id=request_id,
            exit_code=result.exit_code,
            duration=result.duration,
            completed=completed,
            phases=limits.phases(result.phases),
            facts={
                **limits.facts({**_testbed_facts(result), **dict(result.worker)}),
                **limits.command(result.reproduce),
            },
        )
        .on_conflict_do_nothing()
        .returning(run.c.id)
    )
    run_key = connection.execute(statement).scalar()
    if run_key is None:
        return False
    _record_subtests(connection, run_key, result)
    if request_id:
        end_request(
            connection, request_id, package=path.source, ended=completed, container=container, path=str(path)
        )
    return True


def _record_subtests(connection: Connection, run_key: int, result: Result) -> None:
    seconds = {phase.test: phase.seconds for phase in result.phases if phase.phase is Phase.TEST}
    rows = [
        {
            "run": run_key,
            "position": position,
            "name": limits.text(test.name),
            "outcome": test.outcome,
            "reason": limits.text(test.reason),
            "seconds": seconds.get(test.name),
        }
        for position, test in enumerate(result.subtests[: limits.MOST_SUBTESTS])
    ]
    if rows:
        connection.execute(subtest.insert(), rows)


def end_request(
    connection: Connection,
    request_id: str,
    *,
    package: str,
    ended: float,
    container: str | None = None,
    path: str | None = None,
) -> None:
    """Note that a request has its result; ``ended`` is Unix time, a private one has no place.

    Its row is made if it is not there: an event that another process enters at the same moment then
    meets it, and cannot leave the request waiting for ever.
    """
    insert = insert_for(connection.dialect)
    done = {"state": str(RequestState.DONE), "log_tail": "", "reason": ""}
    statement = insert(request).values(
        request_id=request_id,
        queue="",
        package=package,
        updated=ended,
        container=container,
        path=path,
        **done,
    )
    told, known = statement.excluded, request.c
    ours = known.path.is_(None) | (known.path < told.path)  # of two results the later one, as in `_stored`
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["request_id"],
            set_={
                **done,
                "updated": case((known.updated < told.updated, told.updated), else_=known.updated),
                "container": case((ours, told.container), else_=known.container),
                "path": case((ours, told.path), else_=known.path),
            },
        )
    )


def _request_id(result: Result) -> str | None:
    # an id that no request can have is none; the run is worth entering all the same
    found = result.request_id
    return found if found and len(found) <= limits.LONGEST_TEXT and "\0" not in found else None


def _testbed_facts(result: Result) -> dict[str, Any]:
    keys = ("virt_server", "kernel_version", "nproc", "cpu_model")
    return {key: result.testinfo[key] for key in keys if key in result.testinfo}


def _shown_env(result: Result) -> list[str]:
    environment = result.testinfo.get("custom_environment")
    items = environment if isinstance(environment, list) else []
    return [str(item) for item in items if not str(item).startswith("ADT_TEST_TRIGGERS=")]


def apply_event(connection: Connection, event: Event) -> None:
    """Bring a request's row up to date with one step of it.

    State, worker, place and reason come out the same in whatever order the steps are told, and how
    often. The live part (phases, log, attempts) may lack what was told too late.
    Raises ResultError if the event's id, queue, package or parameters are longer than any real one.
    """
    _ensure_request(connection, event)
    known = connection.execute(
        select(request).where(request.c.request_id == event.request_id).with_for_update()
    ).one()
    changes = {**_description(known.queue, event), **_changes(dict(known._mapping), event)}
    if event.kind is EventKind.TAKEN and "attempt" in changes:
        livelog.forget(connection, event.request_id)
        if known.attempt == 0 and known.accepted is None:
            accepted = arrivals.merge(connection, event)
            changes |= {} if accepted is None else {"accepted": accepted}
    if event.kind in (EventKind.TAKEN, EventKind.CANCELLED, EventKind.REJECTED):
        arrivals.ended(connection, event.request_id)
    if event.kind is EventKind.LOG and _wanted(dict(known._mapping), event):
        # also after the end: its last pieces may be told later than the result
        livelog.add(connection, event.request_id, known.attempt, _piece(event), told=event.time)
    if changes:
        connection.execute(update(request).where(request.c.request_id == event.request_id).values(**changes))


def _wanted(known: Mapping[str, Any], event: Event) -> bool:
    """True for a piece of the present attempt's log, unless only named people may read it."""
    private = PRIVATE_PACKAGE in (known["package"], event.package)
    return known["taken"] is not None and event.time >= known["taken"] and not private


def _ensure_request(connection: Connection, event: Event) -> None:
    insert = insert_for(connection.dialect)
    connection.execute(
        insert(request)
        .values(
            request_id=limits.key("request_id", event.request_id),
            queue=limits.key("queue", event.queue),
            package=limits.key("package", event.package),
            state=str(RequestState.QUEUED),
            updated=event.time,
        )
        .on_conflict_do_nothing()
    )


def _description(queue: str, event: Event) -> dict[str, Any]:
    """What does not change from step to step; a rejected body, or the run itself, may not have told it."""
    found: dict[str, Any] = {}
    if not queue:
        found["queue"] = limits.key("queue", event.queue)
    if event.package:
        found["package"] = limits.key("package", event.package)
    if event.data.get("parameters"):
        found["parameters"] = limits.parameters(event.data["parameters"])
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
    given_back = known["state"] in (RequestState.REJECTED, RequestState.CANCELLED) or (
        known["state"] == RequestState.QUEUED and known["reason"]
    )
    return bool(given_back) and event.time < known["updated"]


def _taken(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {
        "state": str(RequestState.RUNNING),
        "queue": limits.key("queue", event.queue),  # it may have been moved
        "taken": event.time,
        "worker": limits.text(str(event.data.get("worker", ""))),
        "attempt": known["attempt"] + 1,
        "phases": [],
        "log_tail": "",
        "log_end": 0,
        "reason": "",
    }


def _phase(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    if known["state"] != RequestState.RUNNING:
        return {}
    told = limits.phase(PhaseTime.from_json(event.data))
    phases = {_phase_key(phase): phase for phase in map(PhaseTime.from_json, known["phases"])}
    if told.seconds is not None or _phase_key(told) not in phases:  # its end may be told before its start
        phases[_phase_key(told)] = told
    newest = sorted(phases.values(), key=lambda p: p.started)[-limits.MOST_PHASES :]
    return {"phases": limits.phases(newest)}


def _phase_key(phase: PhaseTime) -> tuple[Phase, str | None, float]:
    return phase.phase, phase.test, phase.started


def _log(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    piece = _piece(event)
    if known["state"] != RequestState.RUNNING or piece.end <= known["log_end"]:
        return {}
    text = left_out_line(piece.left_out) if piece.left_out else piece.text
    return {"log_tail": (known["log_tail"] + text)[-LOG_TAIL:], "log_end": piece.end}


def _piece(event: Event) -> LogPiece:
    text = str(event.data["text"]).replace("\0", "\N{REPLACEMENT CHARACTER}")  # no column takes NUL
    return LogPiece(text, event.data["start"], event.data["end"])


def _stored(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    later = (event.data.get("path") or "") > (known["path"] or "")
    place = event.data if later else known
    return {
        "state": str(RequestState.DONE),
        "updated": max(known["updated"], event.time),
        "container": place["container"],
        "path": place["path"],
        "log_tail": "",
        "reason": "",
    }


def _returned(_known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {"state": str(RequestState.QUEUED), "reason": _reason(event) or "given back"}


def _rejected(_known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {"state": str(RequestState.REJECTED), "reason": _reason(event)}


def _moved(known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    if known["state"] != RequestState.QUEUED or event.time < known["updated"]:
        return {}
    return {"queue": limits.key("queue", event.queue)}


def _cancelled(_known: Mapping[str, Any], event: Event) -> dict[str, Any]:
    return {"state": str(RequestState.CANCELLED), "reason": _reason(event), "log_tail": ""}


def _reason(event: Event) -> str:
    return limits.text(str(event.data.get("reason") or ""))


_CHANGES = {
    EventKind.TAKEN: _taken,
    EventKind.PHASE: _phase,
    EventKind.LOG: _log,
    EventKind.RETURNED: _returned,
    EventKind.REJECTED: _rejected,
    EventKind.CANCELLED: _cancelled,
    EventKind.MOVED: _moved,
}


def set_queue_lengths(connection: Connection, lengths: Sequence[tuple[str, int, int]]) -> None:
    """Enter what was seen just now: queue, messages, consumers each."""
    insert = insert_for(connection.dialect)
    for queue, messages, consumers in sorted(lengths):  # two that lock rows in one order cannot deadlock
        values = {"messages": messages, "consumers": consumers, "updated": time.time()}
        connection.execute(
            insert(queue_length)
            .values(queue=queue, **values)
            .on_conflict_do_update(index_elements=["queue"], set_=values)
        )
