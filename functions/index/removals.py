# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forgets notes on messages that are gone: no later message may be passed over for them."""

from __future__ import annotations

import time

from sqlalchemy import Engine

from testyard.index import index_errors
from testyard.index.read import queue_lengths
from testyard.ports import Store
from testyard.removal import all_removals
from testyard.store import CLAIMS

#: Seconds for which a note stands at least, and for which a look at a queue is worth something.
_STANDS = 120.0


def forget_removals(store: Store, engine: Engine) -> int:
    """Remove those whose queue is empty; returns how many. Raises StoreError, TestyardError."""
    notes = [note for note in all_removals(store) if note.time < time.time() - _STANDS]
    if not notes:
        return 0
    with index_errors(), engine.connect() as connection:
        seen = [row for row in queue_lengths(connection) if row.updated > time.time() - _STANDS]
    empty = {row.queue for row in seen if row.messages == 0}
    gone = [note for note in notes if note.queue in empty]
    for note in gone:
        store.delete(CLAIMS, note.name)
    return len(gone)
