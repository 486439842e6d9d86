# SPDX-License-Identifier: AGPL-3.0-or-later
"""What waits, chosen, removed and moved, while workers go on and nothing is taken out of a queue.

A request is known from its event or its arrival. Orders are notes that its worker finds at its turn:
docs/delivery.md.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sqlalchemy import Engine, select

from testyard.adapters.amqp import Publisher
from testyard.cancel import cancelled
from testyard.errors import BrokerError, RequestError
from testyard.event import EVENTS_EXCHANGE, Event, EventKind
from testyard.index import RequestRow, RequestState, index_errors
from testyard.index.arrivals import digest_of, waiting_body
from testyard.index.read import queue_lengths, requests_in
from testyard.intake import audit
from testyard.intake.audit import Action
from testyard.intake.ending import order_end
from testyard.intake.identity import Identity
from testyard.intake.schema import asked
from testyard.jsonobject import parse_object
from testyard.moving import mark_sent, order_move, origin_of
from testyard.ports import Store
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.store import CLAIMS

_MOST = 100_000


@dataclass(frozen=True)
class Filter:
    """What fits all that is given. ``patterns`` are shell patterns of a package, or beginnings of ids."""

    patterns: Sequence[str] = ()
    queue: str = ""
    context: str = ""
    release: str = ""
    architecture: str = ""
    requester: str = ""
    trigger: str = ""
    older: float = 0.0


def waiting(index: Engine, wanted: Filter) -> tuple[RequestRow, ...]:
    """The requests that wait and are known, the oldest first."""
    with index_errors(), index.connect() as connection:
        rows = requests_in(connection, [RequestState.QUEUED], limit=_MOST)
    return tuple(row for row in rows if _fits(row, wanted))


def unlisted(index: Engine) -> int:
    """How many more messages are in the queues: to be passed over, or nobody has told of them."""
    with index_errors(), index.connect() as connection:
        lengths = queue_lengths(connection)
        known = Counter(row.queue for row in requests_in(connection, [RequestState.QUEUED], limit=_MOST))
    return sum(max(0, one.messages - known[one.queue]) for one in lengths if one.queue != DEAD_LETTERS)


def _fits(row: RequestRow, wanted: Filter) -> bool:
    try:
        queue = row.queue_name
    except RequestError:
        return False
    triggers = row.parameters.get("triggers")
    own = [str(item) for item in triggers] if isinstance(triggers, list) else []
    trigger = wanted.trigger if "/" in wanted.trigger else f"{wanted.trigger}/*"
    return (
        (
            not wanted.patterns
            or any(fnmatchcase(row.package, one) or _begins(row.request_id, one) for one in wanted.patterns)
        )
        and wanted.queue in ("", row.queue)
        and wanted.context in ("", queue.context)
        and wanted.release in ("", queue.release)
        and wanted.architecture in ("", queue.architecture)
        and wanted.requester in ("", str(row.parameters.get("requester", "")))
        and (not wanted.trigger or any(fnmatchcase(one, trigger) for one in own))
        and time.time() - (row.accepted or row.updated) >= wanted.older
    )


def _begins(request_id: str, text: str) -> bool:
    return len(text) >= 6 and request_id.startswith(text)


@dataclass(frozen=True)
class Yard:
    """Where orders go. ``who`` stands in the audit log."""

    memory: Engine
    index: Engine
    store: Store
    publisher: Publisher
    who: Identity

    def remove(self, row: RequestRow, reason: str) -> str:
        """Have a request that waits end without a run; gives the id by which it ends.

        If it is taken at this moment, it is cancelled. Raises StoreError, TestyardError.
        """
        with index_errors(), self.index.connect() as connection:
            request_id = order_end(self.store, connection, row.request_id, row.queue, reason)
        self._record(Action.CANCELLED, row, reason=reason)
        self._tell(Event(EventKind.CANCELLED, request_id, row.queue, "", data={"reason": reason}))
        return request_id

    def move(self, row: RequestRow, home: QueueName) -> None:
        """Have a request wait in another queue, under its id.

        Raises RequestError if it is taken or cancelled already or its body is not known, NotSentError if
        there is no such queue, StoreError, BrokerError, TestyardError. Whenever this ends early, a worker
        does the rest or the request is where it was.
        """
        body, accepted = self._body(row)
        origin = origin_of(self.store, row.request_id, row.queue)
        self._check_waits(row.request_id, origin)
        self.publisher.check_queue(home)
        ordered = order_move(self.store, row.request_id, home, origin)
        self.publisher.publish_request(home, body, row.request_id, accepted=accepted, origin=origin)
        mark_sent(self.store, ordered)
        self._record(Action.QUEUE, row, moved=str(home))
        self._tell(Event(EventKind.MOVED, row.request_id, str(home), "", data={"from": row.queue}))

    def _check_waits(self, request_id: str, origin: str) -> None:
        """What is taken at the same moment is one request all the same, but would occupy two slots."""
        if cancelled(self.store, request_id) is not None:
            raise RequestError("request", f"{request_id} was cancelled")
        claim = self.store.get(CLAIMS, f"{origin}/id/{request_id}")
        with suppress(ValueError):
            state = parse_object(claim or b"{}").get("state")
            if state in ("running", "storing", "done"):
                raise RequestError("request", f"{request_id} waits no more: {state}")

    def _body(self, row: RequestRow) -> tuple[bytes, float | None]:
        with index_errors(), self.memory.connect() as memory, self.index.connect() as index:
            query = select(asked.c.body).where(asked.c.request_id == row.request_id)
            body = memory.execute(query).scalar() or waiting_body(index, row.request_id)
            if digest_of(index, row.request_id):
                raise RequestError(
                    "request", f"{row.request_id} has no id of its own: remove it and ask for it anew"
                )
        if body is None:
            raise RequestError("request", f"the body of {row.request_id} is not kept: cancel it and ask anew")
        return body, row.accepted

    def _record(self, action: Action, row: RequestRow, **details: str) -> None:
        with index_errors(), self.memory.begin() as memory:
            audit.record(memory, action, self.who, request_id=row.request_id, queue=row.queue, **details)

    def _tell(self, event: Event) -> None:
        with suppress(BrokerError):  # the note is what counts
            self.publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
