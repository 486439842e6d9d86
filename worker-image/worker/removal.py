# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages without an id that somebody has removed: docs/delivery.md.

A note names a body. It is used up by one message: whoever meets it does so in a turn of its own, and the
note is gone before the message is.
"""

from __future__ import annotations

import logging
import threading

from testyard.ports import Store
from testyard.removal import Removal, read_removal, removals_of
from testyard.store import CLAIMS
from worker.claim import ClaimBook
from worker.delivery import Delivery
from worker.order import TurnKeeper

log = logging.getLogger(__name__)


def used_up(
    store: Store, keeper: TurnKeeper, book: ClaimBook, delivery: Delivery, cancelled: threading.Event
) -> Removal | None:
    """The note by which this message is passed over; None if it is to be run.

    Raises StoreError, BrokerError, CancelledRun.
    """
    folder = removals_of(delivery.queue, delivery.digest)
    if not store.names(CLAIMS, prefix=folder):
        return None
    with keeper.alone(folder, cancelled):
        for request_id in map(_id, store.names(CLAIMS, prefix=folder)):
            note = read_removal(store, delivery.queue, delivery.digest, request_id)
            if note is None:
                continue
            meant = _meant(store, note, redelivered=delivery.redelivered)
            if meant:  # others count it among those that were taken
                book.remove(f"{_claims(note)}{request_id}", request_id, delivery.digest)
            store.delete(CLAIMS, note.name)
            if meant:
                return note
            log.info("%s: a note on %s is used up", delivery.queue, request_id)
    return None


def _meant(store: Store, note: Removal, *, redelivered: bool) -> bool:
    """False if what the note was left for has been taken, or passed over, before."""
    taken = {_id(name) for name in store.names(CLAIMS, prefix=_claims(note))}
    if note.request_id in taken:  # a worker died before the note was gone, and before it could acknowledge
        return redelivered
    return len(taken.difference(note.known)) < note.waiting


def _claims(note: Removal) -> str:
    return f"{note.queue}/body/{note.digest}/"


def _id(name: str) -> str:
    return name.rpartition("/")[2]
