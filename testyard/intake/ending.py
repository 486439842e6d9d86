# SPDX-License-Identifier: AGPL-3.0-or-later
"""The order by which a request ends, whether it has an id of its own or not."""

from __future__ import annotations

from sqlalchemy import Connection

from testyard.cancel import cancel
from testyard.index.arrivals import digest_of, equal_ones, real_id
from testyard.index.read import find_request
from testyard.ports import Store
from testyard.removal import Removal, leave_removal
from testyard.store import CLAIMS


def order_end(store: Store, index: Connection, request_id: str, queue: str, reason: str) -> str:
    """Leave a note for its worker; gives the id by which it ends. Raises StoreError, RequestError."""
    digest = digest_of(index, request_id)
    if digest is None:
        found = real_id(index, request_id) or request_id
        cancel(store, found, reason)
        return found
    count, taken = equal_ones(index, queue, digest)
    claims = store.names(CLAIMS, prefix=f"{queue}/body/{digest}/")
    ids = {name.rpartition("/")[2] for name in claims}
    # of others the events are on their way: they are among those that still seem to wait
    known = [one for one in sorted(ids) if one in taken or find_request(index, one) is not None]
    leave_removal(store, Removal(queue, digest, request_id, reason, known, count))
    return request_id
