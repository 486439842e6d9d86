# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ends requests of whose end nothing was told: what the worker noted in its claim is the truth.

An event may be lost, and a private run has no other message and is not in the index. docs/delivery.md
tells how a claim is named and what it says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from sqlalchemy import Engine

from testyard.cancel import cancelled
from testyard.errors import ResultError
from testyard.event import Event, EventKind
from testyard.index import OpenRequest, index_errors
from testyard.index.read import open_requests
from testyard.index.write import apply_event, end_request
from testyard.jsonobject import parse_object
from testyard.moving import all_origins
from testyard.ports import Store
from testyard.run import unix_time
from testyard.store import CLAIMS, RunPath, is_private, is_results_container

#: Seconds for which a request must have been silent: its event may just be on its way.
QUIET = 60.0


def end_finished(store: Store, engine: Engine, *, quiet: float = QUIET) -> int:
    """End the waiting and running requests whose claim is done, or that were cancelled; returns how many.

    Raises StoreError, TestyardError.
    """
    with index_errors(), engine.connect() as connection:
        silent = open_requests(connection, before=time.time() - quiet)
    ended = 0
    moved = all_origins(store) if silent else {}
    for queue, requests in groupby(sorted(silent, key=_queue), key=_queue):
        ended += sum(_end(store, engine, *found) for found in _claims(store, queue, tuple(requests), moved))
    return ended


def _queue(request: OpenRequest) -> str:
    return request.queue


def _claims(
    store: Store, queue: str, requests: Sequence[OpenRequest], moved: Mapping[str, Sequence[str]]
) -> Iterator[tuple[OpenRequest, bytes | None]]:
    """Each request with its claim, if a worker has taken it; ``moved`` are the queues it came from, by id."""
    # most have an id, and their claims a name to ask for; the others' are to be looked for
    others = None
    for request in requests:
        claim = store.get(CLAIMS, f"{queue}/id/{request.request_id}")
        if claim is None:
            if others is None:
                names = store.names(CLAIMS, prefix=f"{queue}/body/")
                others = {name.rpartition("/")[2]: name for name in names}
            name = others.get(request.request_id)
            claim = store.get(CLAIMS, name) if name else None
        for origin in moved.get(request.request_id, ()):
            claim = claim or store.get(CLAIMS, f"{origin}/id/{request.request_id}")
        yield request, claim


def _end(store: Store, engine: Engine, request: OpenRequest, claim: bytes | None) -> int:
    place = done(claim)
    if place is not None:
        container, path, when = place
        known = {} if is_private(container) else {"container": container, "path": path}
        with index_errors(), engine.begin() as connection:
            end_request(connection, request.request_id, package=request.package, ended=when, **known)
        return 1
    reason = cancelled(store, request.request_id)
    if reason is None:
        return 0
    event = Event(EventKind.CANCELLED, request.request_id, request.queue, "", data={"reason": reason})
    with index_errors(), engine.begin() as connection:
        apply_event(connection, event)
    return 1


def done(claim: bytes | None) -> tuple[str, str, float] | None:
    """Container, path and time of a claim's result; None if it has none, or cannot be read."""
    try:
        value = parse_object(claim or b"{}")
        container = str(value.get("container"))
        if value.get("state") != "done" or not is_results_container(container):
            return None
        return container, str(RunPath.parse(str(value.get("path")))), unix_time(value.get("renewed"))
    except (ResultError, ValueError, TypeError, OverflowError):
        return None
