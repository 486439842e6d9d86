# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: who did what, kept with what was done in one transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select

from testyard.errors import LimitError
from testyard.index import limits
from testyard.intake.identity import Identity
from testyard.intake.rates import Bucket, take
from testyard.intake.schema import audit
from testyard.secrets import masked


class Action(StrEnum):
    """What can be done."""

    ACCEPTED = "request accepted"
    REFUSED = "request refused"
    FOUND = "request known already"
    CANCELLED = "request cancelled"
    QUEUE = "queue changed"
    TOKEN_MADE = "token made"  # noqa: S105  an action, no password
    TOKEN_REVOKED = "token revoked"  # noqa: S105
    LOGIN = "login"
    LOGIN_REFUSED = "login refused"
    LOGOUT = "logout"
    HOOK = "hook taken"
    HOOK_REFUSED = "hook refused"


@dataclass(frozen=True)
class Deed:
    """One line of the log. ``time`` is Unix time; ``address`` the client's, as far as it is known."""

    action: Action
    owner: str
    address: str = ""
    request_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


def record_all(connection: Connection, deeds: Sequence[Deed]) -> None:
    """Add many lines in one statement; see `record`."""
    if deeds:
        connection.execute(audit.insert(), [_values(deed) for deed in deeds])


def record(
    connection: Connection,
    action: Action,
    who: Identity,
    *,
    address: str = "",
    request_id: str | None = None,
    **details: Any,
) -> None:
    """Add a line; secrets in ``details`` are masked. What is private must not be in them."""
    record_all(connection, [Deed(action, who.owner, address, request_id, details)])


def refusal_buckets(whose: str) -> tuple[Bucket, ...]:
    """Lines about refusals that are taken of somebody, and of all."""
    return (
        Bucket("refusals", whose, 100, 20 / 3600),
        Bucket("refusals-of-all", "", 2000, 200 / 3600),
    )


def record_refusal(
    connection: Connection, action: Action, who: Identity, *, address: str = "", **details: Any
) -> bool:
    """Add a line about something that was refused, as `record`; False if there were too many of late.

    Anybody can be refused as often as they like, and no disk is endless: of one person or address 100 lines
    are taken at once and 20 an hour from then on, of all together 2,000 and 200 an hour: 1 GB a year.
    """
    buckets = refusal_buckets(who.owner or f"address {address}")
    try:
        with connection.begin_nested():
            take(connection, buckets)
    except LimitError:
        return False
    record(connection, action, who, address=address, **details)
    return True


def _values(deed: Deed) -> dict[str, Any]:
    return {
        "time": deed.time,
        "action": str(deed.action),
        "owner": limits.text(deed.owner),
        "address": limits.text(deed.address),
        "request_id": deed.request_id,
        "details": limits.parameters(masked(deed.details)),
    }


def deeds(
    connection: Connection,
    *,
    owner: str = "",
    request_id: str = "",
    actions: Collection[Action] = (),
    before: int | None = None,
    limit: int = 100,
) -> tuple[tuple[int, Deed], ...]:
    """The newest lines with their numbers, the newest first; ``before`` a number, for the next page."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if owner:
        query = query.where(audit.c.owner == owner)
    if request_id:
        query = query.where(audit.c.request_id == request_id)
    if actions:
        query = query.where(audit.c.action.in_([str(action) for action in actions]))
    if before is not None:
        query = query.where(audit.c.id < before)
    return tuple(
        (
            row.id,
            Deed(Action(row.action), row.owner, row.address, row.request_id, row.details, row.time),
        )
        for row in connection.execute(query)
    )
