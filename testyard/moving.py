# SPDX-License-Identifier: AGPL-3.0-or-later
"""Moving a request that waits to another queue: a note in the store that workers look for.

Nothing is taken out of a queue to be looked at. The worker that meets a moved request in a queue where
it does not belong any more passes over it: docs/delivery.md.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass

from testyard import fields
from testyard.errors import RequestError
from testyard.ports import Store
from testyard.queue import QueueName
from testyard.store import CLAIMS

#: Seconds after which the store forgets a note: as long as it keeps claims.
_FORGET = 30 * 86400


@dataclass(frozen=True)
class Move:
    """Where a request belongs (``home``). It keeps the claims of the queue it was sent to (``origin``).

    ``token`` tells this move from others of the request.
    """

    request_id: str
    origin: str
    home: str
    token: str

    @property
    def _name(self) -> str:
        return f"{_folder(self.request_id)}{self.origin}"

    @property
    def _sent(self) -> str:
        return f"{self._name}/sent-{self.token}"


def order_move(store: Store, request_id: str, home: QueueName, origin: str) -> Move:
    """Say where a request belongs from now on. Raises StoreError, RequestError.

    Whoever calls this then publishes the body to ``home`` and calls `mark_sent`; if it does not get that
    far, the worker that meets the request elsewhere does.
    """
    known = fields.request_id("request", request_id) or ""
    move = Move(known, str(QueueName.parse(origin)), str(home), secrets.token_hex(8))
    store.ensure_container(CLAIMS)
    _put(store, move._name, {"home": move.home, "token": move.token, "time": time.time()})
    return move


def find_move(store: Store, request_id: str, origin: str) -> Move | None:
    """The last move of a request that was sent to ``origin``; None if it was not moved. Raises StoreError."""
    body = store.get(CLAIMS, f"{_folder(request_id)}{origin}")
    if body is None:
        return None
    try:
        value = json.loads(body)
        return Move(request_id, origin, str(QueueName.parse(value["home"])), str(value["token"]))
    except (ValueError, KeyError, TypeError, RequestError):  # what cannot be read orders nothing
        return None


def mark_sent(store: Store, move: Move) -> None:
    """Note that a moved request is in its new queue. Raises StoreError."""
    _put(store, move._sent, {"time": time.time()})


def was_sent(store: Store, move: Move) -> bool:
    """True if a moved request surely is in its new queue. Raises StoreError."""
    return store.get(CLAIMS, move._sent) is not None


def origins_of(store: Store, request_id: str) -> tuple[str, ...]:
    """The queues from which requests of this id were moved. Raises StoreError."""
    names = store.names(CLAIMS, prefix=_folder(request_id))
    return tuple(rest for name in names if "/" not in (rest := name.removeprefix(_folder(request_id))))


def all_origins(store: Store) -> dict[str, tuple[str, ...]]:
    """As `origins_of`, of all requests that were moved, by id. Raises StoreError."""
    found: dict[str, tuple[str, ...]] = {}
    for name in store.names(CLAIMS, prefix=_PREFIX):
        request_id, _, rest = name.removeprefix(_PREFIX).partition("/")
        if rest and "/" not in rest:
            found[request_id] = (*found.get(request_id, ()), rest)
    return found


def origin_of(store: Store, request_id: str, queue: str) -> str:
    """The queue that a request was sent to which waits in ``queue`` now. Raises StoreError."""
    for origin in origins_of(store, request_id):
        move = find_move(store, request_id, origin)
        if move is not None and move.home == queue:
            return origin
    return queue


# beside the claims, whose names begin with their queue's: "debci-…"
_PREFIX = "moved/"


def _folder(request_id: str) -> str:
    return f"{_PREFIX}{request_id}/"


def _put(store: Store, name: str, value: object) -> None:
    body = json.dumps(value).encode()
    store.put(CLAIMS, name, body, content_type="application/json", expire_after=_FORGET)
