# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is to be told of runs, once to each destination, whoever tells it (docs/notifications.md)."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, null, select, update

from testyard.index import limits
from testyard.index.engine import insert_for
from testyard.intake.schema import notice

#: Seconds for which a row is its holder's: longer than any destination may take.
LEASE = 120.0
#: Seconds after which nobody wants to hear of it any more.
GIVE_UP = 86400.0
_LONGEST_PAUSE = 3600.0
_REMEMBER = 30 * 86400.0
_CHOICE = 20


@dataclass(frozen=True)
class Notice:
    """One row. ``attempts`` counts this one too; ``broken_off``: who told it before died while doing so."""

    destination: str
    run: str
    body: Mapping[str, Any]
    created: float
    holder: str
    attempts: int
    broken_off: bool


def put(connection: Connection, destination: str, run: str, body: Mapping[str, Any]) -> bool:
    """Write down what to tell; False if it was written down before."""
    now = time.time()
    added = connection.execute(
        insert_for(connection.dialect)(notice)
        .values(
            destination=limits.text(destination),
            run=limits.text(run),
            body=dict(body),
            created=now,
            next_attempt=now,
        )
        .on_conflict_do_nothing()
    )
    return bool(added.rowcount)


def take(connection: Connection) -> Notice | None:
    """The next one to tell, held for `LEASE` seconds; None if there is none that is free."""
    now = time.time()
    query = select(notice).where(notice.c.next_attempt <= now).order_by(notice.c.next_attempt).limit(_CHOICE)
    rows = connection.execute(query).all()
    for row in random.sample(rows, len(rows)):
        holder = secrets.token_hex(8)
        taken = connection.execute(
            update(notice)
            .where(_key(row), notice.c.next_attempt <= now, notice.c.attempts == row.attempts)
            .values(holder=holder, next_attempt=now + LEASE, attempts=row.attempts + 1)
        )
        if taken.rowcount:
            return Notice(
                row.destination, row.run, row.body, row.created, holder, row.attempts + 1, bool(row.holder)
            )
    return None


def told(connection: Connection, row: Notice) -> None:
    """It was told."""
    _settle(connection, row, told=time.time(), next_attempt=null(), problem="")


def failed(connection: Connection, row: Notice, problem: str, *, again: bool = True) -> float | None:
    """It could not be told. Returns the seconds until the next attempt; None if it is given up."""
    pause = min(2.0 ** min(row.attempts, 30), _LONGEST_PAUSE) * random.uniform(1.0, 1.2)  # noqa: S311
    if not again or time.time() + pause > row.created + GIVE_UP:
        _settle(connection, row, next_attempt=null(), problem=limits.text(problem))
        return None
    _settle(connection, row, next_attempt=time.time() + pause, problem=limits.text(problem))
    return pause


def put_off(connection: Connection, row: Notice, problem: str, pause: float) -> None:
    """It was not tried: again after ``pause`` seconds, and it counts as no attempt. Given up as `failed`."""
    later = time.time() + pause * random.uniform(1.0, 1.2)  # noqa: S311
    again = null() if later > row.created + GIVE_UP else later
    _settle(connection, row, next_attempt=again, problem=limits.text(problem), attempts=row.attempts - 1)


def forget_old(connection: Connection) -> int:
    """Remove what was written down 30 days ago; returns how many."""
    return connection.execute(delete(notice).where(notice.c.created < time.time() - _REMEMBER)).rowcount


def _settle(connection: Connection, row: Notice, **values: Any) -> None:
    connection.execute(
        update(notice).where(_key(row), notice.c.holder == row.holder).values(holder="", **values)
    )


def _key(row: Row[Any] | Notice) -> ColumnElement[bool]:
    return and_(notice.c.destination == row.destination, notice.c.run == row.run)
