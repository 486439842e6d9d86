# SPDX-License-Identifier: AGPL-3.0-or-later
"""Removing a message that has no id: a note about its body, which one message uses up (docs/delivery.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from testyard import fields
from testyard.ports import Store
from testyard.store import CLAIMS

#: Seconds after which the store forgets a note: as long as it keeps claims.
_FORGET = 30 * 86400
_PREFIX = "removed/"


@dataclass(frozen=True)
class Removal:
    """That one message goes. ``digest`` is its body's, ``request_id`` the one under which it is shown.

    ``known`` are the ids of claims on equal bodies that had been seen taken, ``waiting`` how many equal
    ones waited then: when as many more were taken, what was meant is gone, and later ones are not meant.
    """

    queue: str
    digest: str
    request_id: str
    reason: str
    known: Sequence[str]
    waiting: int
    time: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        """The note's name."""
        return f"{removals_of(self.queue, self.digest)}{self.request_id}"


def removals_of(queue: str, digest: str) -> str:
    """Beginning of the names of all notes about a body in a queue."""
    return f"{_PREFIX}{queue}/{digest}/"


def leave_removal(store: Store, removal: Removal) -> None:
    """Have a worker pass over one message. Raises StoreError, RequestError."""
    reason = fields.line("reason", removal.reason)
    value = {
        "reason": reason,
        "known": list(removal.known),
        "waiting": removal.waiting,
        "time": removal.time,
    }
    store.ensure_container(CLAIMS)
    body = json.dumps(value).encode()
    store.put(CLAIMS, removal.name, body, content_type="application/json", expire_after=_FORGET)


def read_removal(store: Store, queue: str, digest: str, request_id: str) -> Removal | None:
    """A note; None if it is gone. Raises StoreError."""
    body = store.get(CLAIMS, f"{removals_of(queue, digest)}{request_id}")
    if body is None:
        return None
    try:
        value = json.loads(body)
        known = [str(item) for item in value["known"]]
        reason, waiting, when = str(value["reason"]), int(value["waiting"]), float(value["time"])
    except (ValueError, KeyError, TypeError):
        return None
    return Removal(queue, digest, request_id, reason, known, waiting, when)


def all_removals(store: Store) -> Iterator[Removal]:
    """All notes that nothing has used up yet. Raises StoreError."""
    for name in store.names(CLAIMS, prefix=_PREFIX):
        queue, _, rest = name.removeprefix(_PREFIX).partition("/")
        digest, _, request_id = rest.partition("/")
        note = read_removal(store, queue, digest, request_id)
        if note is not None:
            yield note
