# SPDX-License-Identifier: AGPL-3.0-or-later
"""What forges shall show for commits, and what they were told (docs/hooks.md, "Statuses").

A forge shows one status for each context of a commit. So there is one row for each, which belongs to the
request that was asked for last. Whoever tells the forge holds the row for `LEASE` seconds.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, null, select, tuple_, update

from testyard.index import limits
from testyard.index.engine import insert_for
from testyard.intake.schema import status
from testyard.run import Outcome

#: Seconds for which a row is its holder's: longer than store and forge may take together.
LEASE = 60.0
#: Seconds from the first wish to the first look whether an event was lost.
FIRST_LOOK = 5.0
#: Seconds for which a row is kept after its last change.
_REMEMBER = 30 * 86400.0
#: Memos that are kept of those that told in parallel.
_MOST_STRAYS = 5
#: Rows that are put off at once: four names each, and SQLite takes 32,766 values in a statement.
_PUT_OFF = 5000
#: Those that tell at the same time choose among so many rows, and rarely want the same.
_CHOICE = 20


class Shown(StrEnum):
    """What can be shown. All but the first two are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    PASS = "pass"  # noqa: S105  no password
    NEUTRAL = "neutral"
    FAIL = "fail"
    TMPFAIL = "tmpfail"
    ERROR = "error"
    DENYLISTED = "denylisted"
    OTHERFAIL = "otherfail"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    LOST = "lost"

    @classmethod
    def of(cls, outcome: Outcome) -> Shown:
        """What a run's outcome is shown as."""
        return cls(str(outcome))

    @property
    def final(self) -> bool:
        """True if nothing more is to come."""
        return self not in (Shown.QUEUED, Shown.RUNNING)


#: A worker may still take what was rejected or cancelled; what a run came to stays.
_MAY_GO_ON = (Shown.REJECTED, Shown.CANCELLED, Shown.LOST)


@dataclass(frozen=True)
class Status:
    """One row.

    ``details`` is what `want` was given; ``ended`` has ``container``, ``path`` and ``exit_code`` of the
    run, or a ``reason``; ``memo`` is what the forge's client wants to have again.
    """

    forge: str
    project: str
    commit: str
    context: str
    request_id: str
    place: Mapping[str, Any]
    details: Mapping[str, Any]
    wanted: Shown
    ended: Mapping[str, Any] = field(default_factory=dict)
    turn: int = 1
    told: str = ""
    told_turn: int = 0
    memo: Mapping[str, Any] = field(default_factory=dict)
    holder: str = ""
    created: float = 0.0
    updated: float = 0.0
    attempts: int = 0
    problem: str = ""

    @property
    def private(self) -> bool:
        """True if nothing may be told but how it ended."""
        return bool(self.details.get("private"))


def context_of(release: str, architecture: str, testname: str | None = None, *, private: bool = False) -> str:
    """``<release>/<arch>``, and the test's name unless the run is private."""
    return f"{release}/{architecture}" + (f" {testname}" if testname and not private else "")


def want(
    connection: Connection,
    request_id: str,
    *,
    forge: str,
    project: str,
    commit: str,
    context: str,
    place: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
    stranger: bool = False,
) -> None:
    """Let a forge show how a request goes on, in place of what it shows for this context of the commit.

    Call it once the request was accepted; again with the same id it changes nothing. ``forge`` and
    ``project`` are those of `testyard.intake.projects`. ``place`` has ``number`` and ``ref`` of the pull
    request or branch; empty, it stays what it was. ``details``: ``queue`` (the request queue's name),
    ``package``, ``private``. What a ``stranger`` asked for takes no other place's row: anybody can open a
    pull request with a commit of somebody else's, and would decide what that one shows.
    """
    now = time.time()
    kept = dict(details or {})
    if kept.get("private"):
        kept.pop("package", None)
    values = {
        "request_id": request_id,
        "place": dict(place or {}),
        "details": kept,
        "wanted": str(Shown.QUEUED),
        "ended": {},
        "event_time": 0.0,
        "attempts": 0,
        "problem": "",
        "updated": now,
        "next_look": now + FIRST_LOOK,
    }
    key = {"forge": forge, "project": project, "commit": commit, "context": limits.text(context)}
    changed = {**values, "turn": status.c.turn + 1, "next_attempt": _soon(now)}
    where = place or {}
    number = int(where.get("number") or 0)
    if not number and not where.get("ref"):
        del changed["place"]
    mine = status.c.request_id != request_id
    if stranger:
        mine = and_(mine, status.c.place["number"].as_integer() == number)
    connection.execute(
        insert_for(connection.dialect)(status)
        .values(**key, **values, created=now, turn=1, next_attempt=now)
        .on_conflict_do_update(index_elements=list(key), set_=changed, where=mine)
    )


def change(
    connection: Connection,
    request_id: str,
    wanted: Shown,
    *,
    when: float,
    ended: Mapping[str, Any] | None = None,
) -> int:
    """A request has got further; returns how many rows show it. ``when`` is the event's time.

    Steps may be told in any order, and again: an older one changes nothing, nor does any after a run's end.
    """
    now = time.time()
    newer = status.c.event_time <= when
    may_go_on = status.c.wanted.in_([str(each) for each in Shown if not each.final or each in _MAY_GO_ON])
    if not wanted.final:
        still = and_(newer, may_go_on)
    elif wanted in _MAY_GO_ON:
        still = and_(newer, _open())
    else:
        still = may_go_on  # a stored result is the truth, whatever was told after it
    found = connection.execute(
        update(status)
        .where(status.c.request_id == request_id, still, status.c.wanted != str(wanted))
        .values(
            wanted=str(wanted),
            ended=_short(ended or {}),
            event_time=when,
            turn=status.c.turn + 1,
            attempts=0,
            updated=now,
            next_attempt=_soon(now),
            next_look=null() if wanted.final else now + FIRST_LOOK,
        )
    )
    return found.rowcount


def look_at(connection: Connection, request_id: str) -> None:
    """Let the sweep look at a request now: it has ended, and the event does not say how."""
    connection.execute(
        update(status).where(status.c.request_id == request_id, _open()).values(next_look=time.time())
    )


def take(connection: Connection) -> Status | None:
    """The next row to tell, held for `LEASE` seconds; None if there is none that is free."""
    now = time.time()
    query = select(status).where(status.c.next_attempt <= now)
    rows = connection.execute(query.order_by(status.c.next_attempt).limit(_CHOICE)).all()
    for row in random.sample(rows, len(rows)):
        holder = secrets.token_hex(8)
        taken = connection.execute(
            update(status)
            .where(_key(row), status.c.next_attempt <= now, status.c.turn == row.turn)
            .values(holder=holder, next_attempt=now + LEASE, attempts=status.c.attempts + 1)
        )
        if taken.rowcount:
            return _status(row, holder=holder, attempts=row.attempts + 1)
    return None


def told(connection: Connection, row: Status, memo: Mapping[str, Any]) -> bool:
    """The forge shows it. False if the row was somebody else's by then: it will be told once more."""
    now = time.time()
    locked = select(status.c.memo).where(_key(row)).with_for_update()
    before = connection.execute(locked).scalar_one_or_none() or {}
    # what others told in parallel while this was told is still to be ended
    strays = [each for each in before.get("strays", ()) if each not in row.memo.get("strays", ())]
    done = connection.execute(
        update(status)
        .where(_key(row), status.c.holder == row.holder)
        .values(
            told=str(row.wanted),
            told_turn=row.turn,
            memo={**memo, "strays": strays} if strays else dict(memo),
            holder="",
            problem="",
            attempts=case((status.c.turn > row.turn, status.c.attempts), else_=0),
            next_attempt=case((status.c.turn > row.turn, now), else_=null()),
        )
    )
    if done.rowcount:
        return True
    # what the other has told may be newer than what we told after it; and it may stand beside it
    kept = {**before, "strays": [*before.get("strays", ()), dict(memo)][-_MOST_STRAYS:]} if memo else before
    connection.execute(
        update(status)
        .where(_key(row))
        .values(turn=status.c.turn + 1, next_attempt=_soon(now), updated=now, memo=kept)
    )
    return False


def failed(connection: Connection, row: Status, problem: str, pause: float | None) -> None:
    """The forge could not be told. Again after ``pause`` seconds; never, if that is None."""
    again = null() if pause is None else time.time() + pause
    connection.execute(
        update(status)
        .where(_key(row), status.c.holder == row.holder)
        .values(
            holder="",
            problem=limits.text(problem),
            next_attempt=case((status.c.turn > row.turn, time.time() + min(pause or 1.0, 10.0)), else_=again),
        )
    )


def put_off(connection: Connection, row: Status, problem: str, pause: float) -> None:
    """The forge was not asked at all: nothing of the project is told before ``pause`` seconds are over.

    It counts as no attempt. Many rows at once: one by one 25,000 keep SQLite's only writer busy.
    """
    now = time.time()
    connection.execute(
        update(status)
        .where(_key(row), status.c.holder == row.holder)
        .values(
            holder="",
            problem=limits.text(problem),
            attempts=case((status.c.attempts > 0, status.c.attempts - 1), else_=0),
            next_attempt=now + pause,
        )
    )
    others = and_(status.c.forge == row.forge, status.c.project == row.project, status.c.next_attempt <= now)
    names = (status.c.forge, status.c.project, status.c.commit, status.c.context)
    # no waiting for rows that others hold: of two that wait for each other PostgreSQL ends one
    due = select(*names).where(others).limit(_PUT_OFF).with_for_update(skip_locked=True)
    keys = [tuple(found) for found in connection.execute(due)]
    connection.execute(
        update(status)
        .where(tuple_(*names).in_(keys))
        .values(holder="", problem=limits.text(problem), next_attempt=now + pause)
    )


def silent(connection: Connection, *, limit: int) -> tuple[Status, ...]:
    """Those that have not ended and are to be looked at, the longest waiting first."""
    query = select(status).where(status.c.next_look <= time.time(), _open()).order_by(status.c.next_look)
    return tuple(_status(row) for row in connection.execute(query.limit(limit)))


def waiting_since(connection: Connection, when: float) -> frozenset[str]:
    """Ids of requests that have waited since then."""
    query = select(status.c.request_id).where(
        status.c.wanted == str(Shown.QUEUED), status.c.updated < when, status.c.next_look.is_not(None)
    )
    return frozenset(connection.execute(query).scalars())


def looked(connection: Connection, request_id: str, pause: float) -> None:
    """Nothing is new about it: look again after ``pause`` seconds."""
    connection.execute(
        update(status).where(status.c.request_id == request_id, _open()).values(next_look=time.time() + pause)
    )


def of_commit(connection: Connection, forge: str, project: str, commit: str) -> tuple[Status, ...]:
    """What a forge shows for a commit, by context."""
    query = select(status).where(
        status.c.forge == forge, status.c.project == project, status.c.commit == commit
    )
    return tuple(_status(row) for row in connection.execute(query.order_by(status.c.context)))


def of_request(connection: Connection, request_id: str) -> tuple[Status, ...]:
    """Where a request is shown."""
    query = select(status).where(status.c.request_id == request_id)
    return tuple(_status(row) for row in connection.execute(query.order_by(status.c.created)))


def forget_old(connection: Connection) -> int:
    """Remove what ended and was not changed for 30 days; returns how many."""
    old = delete(status).where(status.c.updated < time.time() - _REMEMBER, ~_open())
    return connection.execute(old).rowcount


def _open() -> ColumnElement[bool]:
    return status.c.wanted.in_([str(each) for each in Shown if not each.final])


def _soon(now: float) -> ColumnElement[float]:
    """Now, unless somebody holds the row: it looks again when it has told what it knows."""
    return case((status.c.holder == "", now), else_=status.c.next_attempt)


def _key(row: Row[Any] | Status) -> ColumnElement[bool]:
    return and_(
        status.c.forge == row.forge,
        status.c.project == row.project,
        status.c.commit == row.commit,
        status.c.context == row.context,
    )


def _short(ended: Mapping[str, Any]) -> dict[str, Any]:
    return {key: limits.text(value) if isinstance(value, str) else value for key, value in ended.items()}


def _status(row: Row[Any], **changed: Any) -> Status:
    values = {name: value for name, value in row._mapping.items() if name in Status.__dataclass_fields__}
    return Status(**{**values, "wanted": Shown(row.wanted), **changed})
