# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests that came straight by AMQP, known from their arrival.

One without an id is shown under a provisional one until a worker takes it, who chooses its real id and
tells the body's digest: then the oldest arrival of that body and queue is taken for it. Who asks for the
provisional id is led on to the real one.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, exists, select, update

from testyard.arrival import Arrival
from testyard.errors import RequestError
from testyard.event import PRIVATE_PACKAGE, Event, EventKind
from testyard.index.engine import insert_for
from testyard.index.rows import RequestState
from testyard.index.schema import arrival, queue_length, request
from testyard.request import TestRequest, new_request_id, parse_body
from testyard.secrets import masked_parameters

#: Seconds for which a queue has to be empty until what was shown to wait there counts as gone.
_GONE = 120.0
#: Seconds for which a provisional id leads on to the real one.
_KEEP = 30 * 86400.0


def event_of(arrived: Arrival, *, now: float) -> Event | None:
    """What is to be told of an arrival; None if nothing can be, and no worker will tell more.

    A private request without an id stays unknown until it is taken: nothing of its body may be told.
    """
    try:
        request_: TestRequest = parse_body(arrived.body)
    except RequestError:
        return None
    if request_.private and arrived.request_id is None:
        return None
    private = request_.private
    data = {"parameters": {} if private else masked_parameters(request_.parameters)}
    package = PRIVATE_PACKAGE if private else request_.package
    request_id = arrived.request_id or new_request_id()
    return Event(EventKind.ACCEPTED, request_id, arrived.queue, package, time=now, data=data)


def note_arrival(connection: Connection, arrived: Arrival, event: Event) -> None:
    """Remember a body under its id, or under the provisional one."""
    shown = event.data["parameters"]
    secret = event.package == PRIVATE_PACKAGE or shown != parse_body(arrived.body).parameters
    digest = arrived.digest if arrived.request_id is None else ""
    values = {"id": event.request_id, "queue": arrived.queue, "digest": digest, "arrived": event.time}
    insert = insert_for(connection.dialect)
    connection.execute(
        insert(arrival).values(**values, body=None if secret else arrived.body).on_conflict_do_nothing()
    )


def merge(connection: Connection, event: Event) -> float | None:
    """The arrival of a request that was taken: when it came. None if it is not known.

    Its provisional row goes; ``event`` is the taking.
    """
    digest = event.data.get("digest")
    if not digest:
        return None
    found = connection.execute(
        select(arrival.c.id, arrival.c.arrived)
        .where(arrival.c.queue == event.queue, arrival.c.digest == str(digest), arrival.c.became.is_(None))
        .order_by(arrival.c.arrived, arrival.c.id)
        .limit(1)
        .with_for_update()
    ).first()
    if found is None:
        return None
    connection.execute(
        update(arrival).where(arrival.c.id == found.id).values(became=event.request_id, body=None)
    )
    connection.execute(
        delete(request).where(
            request.c.request_id == found.id, request.c.state != str(RequestState.CANCELLED)
        )
    )
    return float(found.arrived)


def ended(connection: Connection, request_id: str) -> None:
    """What arrived under this id waits no more: it was taken, or ended without a run."""
    connection.execute(
        update(arrival)
        .where(arrival.c.id == request_id, arrival.c.became.is_(None))
        .values(became=request_id, body=None)
    )


def real_id(connection: Connection, request_id: str) -> str | None:
    """The id that a worker chose for what had this provisional one; None if it is none, or waits."""
    found = connection.execute(select(arrival.c.became).where(arrival.c.id == request_id)).first()
    return found.became if found and found.became != request_id else None


def waiting_body(connection: Connection, request_id: str) -> bytes | None:
    """The body of a request that came by AMQP under its own id and waits; None if it is not known."""
    query = select(arrival.c.body).where(
        arrival.c.id == request_id, arrival.c.became.is_(None), arrival.c.digest == ""
    )
    return connection.execute(query).scalar()


def equal_ones(connection: Connection, queue: str, digest: str) -> tuple[int, tuple[str, ...]]:
    """How many bodies without an id wait that are equal to this, and the ids of those that were taken."""
    same = (arrival.c.queue == queue) & (arrival.c.digest == digest)
    rows = connection.execute(select(arrival.c.became).where(same)).all()
    return sum(row.became is None for row in rows), tuple(row.became for row in rows if row.became)


def digest_of(connection: Connection, request_id: str) -> str | None:
    """The body's digest of a request that waits under a provisional id; None if it is none."""
    query = select(arrival.c.digest).where(arrival.c.id == request_id, arrival.c.became.is_(None))
    found = connection.execute(query).first()
    return found.digest or None if found else None


def forget_gone(connection: Connection, *, now: float) -> None:
    """Forget those that nobody will take: their queue is empty (it was purged, or the body was no good)."""
    empty = exists().where(
        queue_length.c.queue == arrival.c.queue,
        queue_length.c.messages == 0,
        queue_length.c.updated > now - _GONE,
    )
    gone = select(arrival.c.id).where(arrival.c.became.is_(None), arrival.c.arrived < now - _GONE, empty)
    ids = [row.id for row in connection.execute(gone.limit(500))]
    waiting = request.c.request_id.in_(ids) & (request.c.state == str(RequestState.QUEUED))
    connection.execute(delete(request).where(waiting))
    connection.execute(delete(arrival).where(arrival.c.id.in_(ids)))
    connection.execute(delete(arrival).where(arrival.c.arrived < now - _KEEP))
