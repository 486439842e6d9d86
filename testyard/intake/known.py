# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether what is asked for waits, runs, or has passed already."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select

from testyard.errors import RequestError
from testyard.index import RequestState
from testyard.index.read import find_request, package_runs, requests_in
from testyard.intake.fingerprint import fingerprint
from testyard.intake.schema import asked
from testyard.queue import QueueName
from testyard.request import MIGRATION_REFERENCE, TestRequest, make_request
from testyard.run import Outcome
from testyard.store import container_name

#: Seconds for which a request counts as waiting though no event has told of it: longer than the status
#: function is ever behind, shorter than anybody would wait with nothing to see.
_UNSEEN = 3600.0
_UNDER_WAY = (RequestState.QUEUED, RequestState.RUNNING)


class Standing(StrEnum):
    """What becomes of something that was asked for."""

    ACCEPTED = "accepted"
    QUEUED = "already queued"
    RUNNING = "already running"
    PASSED = "already passed"


@dataclass(frozen=True)
class Known:
    """What there is already: a request, or the run that passed, with its path in the store."""

    standing: Standing
    request_id: str
    path: str = ""


def under_way(
    memory: Connection, index: Connection, queue: QueueName, request: TestRequest, owner: str
) -> Known | None:
    """The same request if it waits or runs; a private one only if its owner asks."""
    return _asked(memory, index, queue, request, owner) or _heard_of(index, queue, request)


def passed(index: Connection, queue: QueueName, request: TestRequest) -> Known | None:
    """The newest run that passed with the same triggers, if the request says nothing else that matters."""
    plain = not (
        request.private
        or request.env
        or request.test_git
        or request.build_git
        or request.all_proposed
        or request.testname
    )
    if not plain or not request.triggers or MIGRATION_REFERENCE in request.triggers:
        return None
    container = container_name(queue.release, request.ppas)
    wanted = set(request.triggers)
    for run in package_runs(
        index, request.package, release=queue.release, architecture=queue.architecture, limit=20
    ):
        if run.container == container and set(run.triggers) == wanted and run.outcome is Outcome.PASS:
            return Known(Standing.PASSED, run.request_id or "", str(run.path))
    return None


def _asked(
    memory: Connection, index: Connection, queue: QueueName, request: TestRequest, owner: str
) -> Known | None:
    query = (
        select(asked.c.request_id, asked.c.created)
        .where(asked.c.fingerprint == fingerprint(queue, request))
        .order_by(asked.c.created.desc())
        .limit(20)
    )
    if request.private:
        query = query.where(asked.c.owner == owner)
    for request_id, created in memory.execute(query):
        row = find_request(index, request_id)
        if row is None and created > time.time() - _UNSEEN:
            return Known(Standing.QUEUED, request_id)
        if row is not None and row.state in _UNDER_WAY:
            return Known(_standing(row.state), request_id)
    return None


def _heard_of(index: Connection, queue: QueueName, request: TestRequest) -> Known | None:
    if request.private:
        return None
    wanted = fingerprint(queue, request)
    for row in requests_in(index, _UNDER_WAY, package=request.package, limit=500):
        try:
            same = fingerprint(row.queue_name, make_request(row.package, row.parameters)) == wanted
        except RequestError:
            continue
        if same:
            return Known(_standing(row.state), row.request_id)
    return None


def _standing(state: RequestState) -> Standing:
    return Standing.RUNNING if state is RequestState.RUNNING else Standing.QUEUED
