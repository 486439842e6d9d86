# SPDX-License-Identifier: AGPL-3.0-or-later
"""What hooks have asked for before: to ask for it again, and to end what a newer push makes useless."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from testyard.cancel import cancel
from testyard.event import Event, EventKind
from testyard.index import index_errors
from testyard.index.read import request_states
from testyard.intake import audit
from testyard.intake.again import what_is_asked
from testyard.intake.audit import Action
from testyard.intake.identity import Identity
from testyard.intake.known import cancelled_ids, under_way
from testyard.intake.schema import asked
from testyard.intake.submit import Wish
from testyard.ports import Store
from testyard.queue import QueueName
from testyard.request import parse_body

#: Requests about one pull request that are looked at, the newest first.
_MOST = 500


@dataclass(frozen=True)
class Before:
    """A request that a hook made. ``said`` is when the forge told of it, as `submit_time` writes it."""

    request_id: str
    queue: QueueName
    package: str
    owner: str
    subject: str
    said: str
    under_way: bool


def submit_time(when: float) -> str:
    """As requests have it; later ones are greater."""
    return time.strftime("%Y-%m-%d %H:%M:%S+0000", time.gmtime(when))


def about(memory: Engine, index: Engine, thing: str) -> tuple[Before, ...]:
    """What was asked for about a pull request or branch (`Hook.thing`); what was cancelled has ended."""
    query = (
        select(
            asked.c.request_id, asked.c.queue, asked.c.package, asked.c.owner, asked.c.subject, asked.c.body
        )
        .add_columns(asked.c.sent)
        .where(asked.c.subject.startswith(f"{thing}@", autoescape=True))
        .order_by(asked.c.created.desc())
        .limit(_MOST)
    )
    with index_errors(), memory.connect() as connection:
        rows = connection.execute(query).all()
        gone = cancelled_ids(connection, [row.request_id for row in rows])
    with index_errors(), index.connect() as connection:
        states = request_states(connection, [row.request_id for row in rows])
    return tuple(
        Before(
            row.request_id,
            QueueName.parse(row.queue),
            row.package,
            row.owner,
            row.subject,
            parse_body(row.body).submit_time or "",
            row.request_id not in gone and under_way(states.get(row.request_id), row.sent),
        )
        for row in rows
    )


def again(connection: Connection, request_id: str) -> Wish | None:
    """The same as that request asked for; None if it is not known any more."""
    query = select(asked.c.queue, asked.c.body, asked.c.subject).where(asked.c.request_id == request_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    request = parse_body(row.body)
    parameters = what_is_asked(request.parameters)
    return Wish(QueueName.parse(row.queue), request.package, parameters, force=True, subject=row.subject)


def end(
    requests: Sequence[Before],
    reason: str,
    who: Identity,
    address: str,
    *,
    memory: Engine,
    store: Store,
    tell: Callable[[Sequence[Event]], None],
) -> None:
    """Cancel requests: no worker starts them, and one that runs them ends them. Raises StoreError."""
    for each in requests:
        cancel(store, each.request_id, reason)
    tell(
        [
            Event(EventKind.CANCELLED, each.request_id, str(each.queue), "", data={"reason": reason})
            for each in requests
        ]
    )
    with index_errors(), memory.begin() as connection:
        for each in requests:
            audit.record(
                connection, Action.CANCELLED, who, address=address, request_id=each.request_id, reason=reason
            )
