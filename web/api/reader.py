# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who reads, and what the intake knows of requests that the index has not heard of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, false, inspect, or_, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from testyard.index import RequestRow, RequestState
from testyard.index.read import Sought, request_states
from testyard.intake import ANONYMOUS, Identity, Scope, sessions
from testyard.intake.known import UNSEEN
from testyard.intake.recognise import recognise
from testyard.intake.schema import asked
from testyard.request import parse_body

#: Of what was accepted within the last hour and is not in the index so many are listed at most.
_MOST_UNSEEN = 1000


@dataclass(frozen=True)
class Reader:
    """Somebody who reads, and the intake's tables; ``memory`` is None if they are not there (yet)."""

    who: Identity
    memory: Connection | None

    @property
    def sees_own(self) -> bool:
        """True if they may see what is private and theirs: a token must be for that."""
        return bool(self.who.owner) and Scope.READ_PRIVATE in self.who.scopes

    @property
    def sees_all(self) -> bool:
        """True for an operator."""
        return self.sees_own and self.who.owner.startswith("operator/")

    def may_see(self, request_id: str) -> bool:
        """True for a private request of theirs, and for an operator; with a token only if it is for that."""
        return self.sees_all or (self.sees_own and self.owner_of(request_id) == self.who.owner)

    def owner_of(self, request_id: str) -> str | None:
        """Who asked, if it came by our doors."""
        row = self.asked(request_id)
        return row.owner if row else None

    def asked(self, request_id: str) -> Row[Any] | None:
        """What was asked for by our doors."""
        if self.memory is None:
            return None
        return self.memory.execute(select(asked).where(asked.c.request_id == request_id)).first()

    def unseen(self, index: Connection, sought: Sought) -> list[RequestRow]:
        """What was accepted lately and the index has not heard of, as it would show it."""
        if self.memory is None or sought.state not in ("", RequestState.QUEUED):
            return []
        query = (
            select(asked)
            .where(asked.c.created > time.time() - UNSEEN)
            .order_by(asked.c.created.desc())
            .limit(_MOST_UNSEEN)
        )
        if sought.public:
            own = asked.c.owner == self.who.owner if self.sees_own else false()
            query = query.where((asked.c.private == 0) | own)
        if sought.package:
            query = query.where(asked.c.package == sought.package)
        if sought.queues:
            query = query.where(asked.c.queue.in_(sought.queues))
        if sought.before:
            query = query.where(
                or_(
                    asked.c.created < sought.before.time,
                    (asked.c.created == sought.before.time) & (asked.c.request_id < sought.before.request_id),
                )
            )
        rows = self.memory.execute(query).all()
        known = request_states(index, [row.request_id for row in rows])
        found = [as_request(row) for row in rows if row.request_id not in known]
        wanted = sought.requester
        return [row for row in found if not wanted or row.parameters.get("requester") == wanted]


def as_request(row: Row[Any]) -> RequestRow:
    """What was asked for as the index will have it."""
    parameters: Mapping[str, Any] = parse_body(row.body).parameters
    return RequestRow(
        request_id=row.request_id,
        queue=row.queue,
        package=row.package,
        state=RequestState.QUEUED,
        accepted=row.created,
        taken=None,
        updated=row.created,
        worker="",
        attempt=0,
        reason="",
        parameters=parameters,
        phases=(),
        log_tail="",
        log_end=0,
        container=None,
        path=None,
    )


def who_reads(request: Request, reader: Engine, writer: Engine, *, secure: bool) -> Identity:
    """By token or session; ANONYMOUS if neither was sent. Raises as `recognise`."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    cookie = request.cookies.get(sessions.cookie_name(secure=secure), "")
    token = (text.strip() or "-") if kind.lower() == "bearer" else ""
    if not token and not cookie:
        return ANONYMOUS
    return recognise(reader, writer, token=token, cookie=cookie) or ANONYMOUS


def connected(memory: Engine) -> Connection | None:
    """A connection to the intake's tables; None if there are none yet.

    Raises SQLAlchemyError if that cannot be found out now.
    """
    connection = memory.connect()
    try:
        connection.execute(select(asked.c.request_id).limit(1))
    except SQLAlchemyError:
        with connection:
            connection.rollback()
            if inspect(connection).has_table(asked.name):
                raise
        return None
    return connection
