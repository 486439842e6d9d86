# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether what is asked for waits, runs, or has passed already. All of a call is looked up together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from sqlalchemy import Connection, func, or_, select

from testyard.errors import RequestError
from testyard.index import RequestRow, RequestState
from testyard.index.read import find_request, package_runs, request_states, requests_in
from testyard.intake.audit import Action
from testyard.intake.fingerprint import fingerprint
from testyard.intake.schema import asked, audit
from testyard.queue import QueueName
from testyard.request import MIGRATION_REFERENCE, TestRequest, make_request
from testyard.run import Outcome
from testyard.store import container_name

#: Seconds after it was sent for which a request counts as waiting though no event has told of it: longer than
#: the status function is ever behind, shorter than anybody would wait with nothing to see.
UNSEEN = 3600.0
_UNDER_WAY = (RequestState.QUEUED, RequestState.RUNNING)
#: So many are asked for in one statement; and so many of the same that were asked for are looked at.
_CHUNK = 500
_SAME = 20


class Standing(StrEnum):
    """What becomes of something that was asked for."""

    ACCEPTED = "accepted"
    QUEUED = "already queued"
    RUNNING = "already running"
    PASSED = "already passed"


@dataclass(frozen=True)
class Known:
    """What there is already: a request, or the run that passed, with its path in the store."""

    standing: Standing
    request_id: str
    path: str = ""


@dataclass(frozen=True)
class Wanted:
    """A request, the queue it is for, and the fingerprint of both."""

    queue: QueueName
    request: TestRequest
    print: str

    @classmethod
    def of(cls, queue: QueueName, request: TestRequest) -> Wanted:
        """With its fingerprint."""
        return cls(queue, request, fingerprint(queue, request))


def known(memory: Connection, index: Connection, wanted: Iterable[Wanted], owner: str) -> dict[str, Known]:
    """By fingerprint: the same request that waits or runs, or else the newest run that passed.

    A private one is known to its owner only. One that was cancelled is not known any more.
    """
    missing = {one.print: one for one in wanted}
    found: dict[str, Known] = {}
    looks = _asked(memory, index, missing, owner), _heard_of(memory, index, missing), _passed(index, missing)
    for look in looks:
        for key, one in look:
            found.setdefault(key, one)
            missing.pop(key, None)
    return found


def _asked(
    memory: Connection, index: Connection, wanted: Mapping[str, Wanted], owner: str
) -> Iterator[tuple[str, Known]]:
    """What came by our own doors."""
    for keys in chunks(list(wanted), _CHUNK):
        newest = func.row_number().over(partition_by=asked.c.fingerprint, order_by=asked.c.created.desc())
        mine = or_(asked.c.private == 0, asked.c.owner == owner)
        rows = (
            select(asked.c.fingerprint, asked.c.request_id, asked.c.sent, newest.label("place"))
            .where(asked.c.fingerprint.in_(keys), mine)
            .subquery()
        )
        query = select(rows).where(rows.c.place <= _SAME).order_by(rows.c.place)
        same = memory.execute(query).all()
        states = request_states(index, [row.request_id for row in same])
        cancelled = cancelled_ids(memory, [row.request_id for row in same])
        for row in same:
            if row.request_id in cancelled:
                continue
            state = states.get(row.request_id)
            if under_way(state, row.sent):
                yield row.fingerprint, Known(_standing(state), row.request_id)


def under_way(state: RequestState | None, sent: float | None) -> bool:
    """True if a request that came by our doors waits or runs. ``state`` is what the index has heard of it.

    What is not sent yet waits, however long that takes.
    """
    if state is not None:
        return state in _UNDER_WAY
    return sent is None or sent > time.time() - UNSEEN


def cancelled_ids(memory: Connection, request_ids: Sequence[str]) -> set[str]:
    """Those that somebody has cancelled. The index hears of it later, and of one that runs at its end."""
    return {
        found
        for part in chunks(request_ids, _CHUNK)
        for found in memory.execute(
            select(audit.c.request_id).where(
                audit.c.request_id.in_(part), audit.c.action == str(Action.CANCELLED)
            )
        ).scalars()
    }


def _heard_of(
    memory: Connection, index: Connection, wanted: Mapping[str, Wanted]
) -> Iterator[tuple[str, Known]]:
    """What came straight to the broker, and is told of by events."""
    public = {one.request.package for one in wanted.values() if not one.request.private}
    for package in sorted(public):
        rows = requests_in(index, _UNDER_WAY, package=package, limit=_CHUNK)
        alike = [(key, row) for row in rows if (key := _row_print(row)) in wanted]
        cancelled = cancelled_ids(memory, [row.request_id for _, row in alike])
        for key, row in alike:
            if row.request_id not in cancelled:
                yield key, Known(_standing(row.state), row.request_id)


def _passed(index: Connection, wanted: Mapping[str, Wanted]) -> Iterator[tuple[str, Known]]:
    """What passed with the same triggers, of requests that say nothing else that matters."""
    for key, one in list(wanted.items()):
        if not _comparable(one.request):
            continue
        container = container_name(one.queue.release, one.request.ppas, from_git=one.request.from_git)
        triggers = set(one.request.triggers)
        place = {"release": one.queue.release, "architecture": one.queue.architecture}
        for run in package_runs(index, one.request.package, **place, limit=_SAME):
            alike = run.container == container and set(run.triggers) == triggers
            # only its request tells whether a run was of one test, or with all of the proposed pocket
            if alike and run.outcome is Outcome.PASS and _print_of(index, run.request_id) == key:
                yield key, Known(Standing.PASSED, run.request_id or "", str(run.path))
                break


def _print_of(index: Connection, request_id: str | None) -> str:
    """The fingerprint of a request that the index knows; empty if it does not."""
    row = find_request(index, request_id) if request_id else None
    return _row_print(row) if row else ""


def _row_print(row: RequestRow) -> str:
    try:
        return fingerprint(row.queue_name, make_request(row.package, row.parameters))
    except RequestError:
        return ""


def _comparable(request: TestRequest) -> bool:
    plain = not (
        request.private
        or request.env
        or request.test_git
        or request.build_git
        or request.all_proposed
        or request.testname
    )
    return plain and bool(request.triggers) and MIGRATION_REFERENCE not in request.triggers


def _standing(state: RequestState | None) -> Standing:
    return Standing.RUNNING if state is RequestState.RUNNING else Standing.QUEUED


def chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """The items, ``size`` at a time: a database takes no longer lists."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
