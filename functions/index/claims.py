# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ends requests of whose end nothing was told: what the worker noted in its claim is the truth.

An event may be lost, and a private run has no other message and is not in the index. docs/delivery.md
tells how a claim is named and what it says.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import Engine

from testyard.errors import ResultError
from testyard.index import OpenRequest, index_errors
from testyard.index.read import open_requests
from testyard.index.write import end_request
from testyard.jsonobject import parse_object
from testyard.ports import Store
from testyard.run import unix_time
from testyard.store import CLAIMS, RunPath, is_private, is_results_container

#: Seconds for which a request must have been silent: its event may just be on its way.
QUIET = 60.0


def end_finished(store: Store, engine: Engine, *, quiet: float = QUIET) -> int:
    """End the waiting and running requests whose claim is done; returns how many.

    Lists the claims of each queue that has a silent request. Raises StoreError, TestyardError.
    """
    with index_errors(), engine.connect() as connection:
        silent = open_requests(connection, before=time.time() - quiet)
    ended = 0
    for queue, requests in groupby(sorted(silent, key=_queue), key=_queue):
        ended += sum(_end(store, engine, *found) for found in _claimed(store, queue, tuple(requests)))
    return ended


def _queue(request: OpenRequest) -> str:
    return request.queue


def _claimed(store: Store, queue: str, requests: Sequence[OpenRequest]) -> list[tuple[OpenRequest, str]]:
    """The requests that a worker has taken, with their claims' names, of which the last part is the id."""
    known = {request.request_id: request for request in requests}
    names = store.names(CLAIMS, prefix=f"{queue}/")
    pairs = ((known.get(name.rpartition("/")[2]), name) for name in names)
    return [(request, name) for request, name in pairs if request is not None]


def _end(store: Store, engine: Engine, request: OpenRequest, name: str) -> int:
    place = _done(store.get(CLAIMS, name))
    if place is None:
        return 0
    container, path, when = place
    known = {} if is_private(container) else {"container": container, "path": path}
    with index_errors(), engine.begin() as connection:
        end_request(connection, request.request_id, package=request.package, ended=when, **known)
    return 1


def _done(claim: bytes | None) -> tuple[str, str, float] | None:
    """Container, path and time of a claim's result; None if it has none, or cannot be read."""
    try:
        value = parse_object(claim or b"{}")
        container = str(value.get("container"))
        if value.get("state") != "done" or not is_results_container(container):
            return None
        return container, str(RunPath.parse(str(value.get("path")))), unix_time(value.get("renewed"))
    except (ResultError, ValueError, TypeError, OverflowError):
        return None
