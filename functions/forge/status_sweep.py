# SPDX-License-Identifier: AGPL-3.0-or-later
"""Finds out how requests went on of which no event came: index, claims, results and dead letters know.

An event may get lost, and the one of a private run does not say how it ended. Nothing may hang at
"pending" for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from functions.index.claims import done
from testyard.adapters.deadletters import DeadLetter
from testyard.cancel import cancelled
from testyard.errors import ResultError, StoreError
from testyard.index import RequestRow, RequestState, index_errors
from testyard.index.read import find_request
from testyard.intake import statuses
from testyard.intake.statuses import Shown, Status
from testyard.jsonobject import parse_object
from testyard.moving import origins_of
from testyard.ports import Store
from testyard.result import read_result_tar
from testyard.store import CLAIMS, RESULT, RunPath, is_private

#: A request is looked at again after a quarter of its age, and not less or more often than this (seconds).
_SOONEST, _LATEST = 10.0, 300.0
#: Requests of one sweep: each takes 3 questions to the store, 30 ms. Of 500 at a time, with 25,000 that
#: waited, the function did little else.
_AT_ONCE = 40
#: Seconds after which a request that nobody knows is looked for among the dead letters, and between two
#: such looks.
_DEAD_AFTER = 300.0
_DEAD_PAUSE = 300.0
#: Seconds after which a request of which nothing is heard counts as lost. Claims are kept for 30 days.
_LOST_AFTER = 14 * 86400.0


@dataclass(frozen=True)
class Found:
    """How a request has gone on."""

    shown: Shown
    when: float
    ended: Mapping[str, Any]


class StatusSweep:
    """For one thread. ``letters`` looks at the dead letters."""

    def __init__(
        self, memory: Engine, index: Engine, store: Store, letters: Callable[[], Sequence[DeadLetter]]
    ) -> None:
        self._memory, self._index, self._store, self._letters = memory, index, store, letters
        self._next_dead = 0.0

    def sweep(self) -> int:
        """Look at those of which nothing was heard; returns how many had changed.

        Raises StoreError, BrokerError, TestyardError.
        """
        with index_errors(), self._memory.connect() as connection:
            rows = statuses.silent(connection, limit=_AT_ONCE)
        same, trouble = [], []
        for row in rows:
            try:
                if not self._look(row):
                    same.append(row)
            except StoreError as error:  # of this one alone, perhaps: the others are looked at all the same
                trouble.append(error)
                same.append(row)
        now = time.time()
        with index_errors(), self._memory.begin() as connection:
            for row in same:
                pause = min(max((now - row.created) / 4, _SOONEST), _LATEST)
                statuses.looked(connection, row.request_id, pause)
        changed = len(rows) - len(same)
        if trouble and len(trouble) == len(rows):
            raise trouble[0]
        changed += self._look_among_dead_letters()
        with index_errors(), self._memory.begin() as connection:
            statuses.forget_old(connection)
        return changed

    def _look(self, row: Status) -> bool:
        """True if it had changed."""
        with index_errors(), self._index.connect() as connection:
            known = find_request(connection, row.request_id)
        found = self._found(row, known)
        if found is None:
            return False
        with index_errors(), self._memory.begin() as connection:
            changed = statuses.change(
                connection, row.request_id, found.shown, when=found.when, ended=found.ended
            )
        return bool(changed)

    def _found(self, row: Status, known: RequestRow | None) -> Found | None:
        found = self._by_result(known) or self._by_claim(row, known) or _by_index(known)
        if row.updated < time.time() - _LOST_AFTER and not (found and found.shown.final):
            return Found(Shown.LOST, time.time(), {})
        return found

    def _by_result(self, known: RequestRow | None) -> Found | None:
        if known is None or known.state is not RequestState.DONE or not (known.container and known.path):
            return None
        return self._result(known.container, known.path, known.updated)

    def _by_claim(self, row: Status, known: RequestRow | None) -> Found | None:
        """What its worker noted, or who cancelled it."""
        queue = known.queue if known is not None and known.queue else str(row.details.get("queue") or "")
        claim = self._claim(queue, row.request_id) if queue else None
        place = done(claim)
        if place is not None:
            return self._result(*place)
        reason = cancelled(self._store, row.request_id)
        if reason is not None:
            return Found(Shown.CANCELLED, time.time(), {"reason": reason})
        return Found(Shown.RUNNING, time.time(), {}) if _runs(claim) else None

    def _claim(self, queue: str, request_id: str) -> bytes | None:
        queues = (queue, *origins_of(self._store, request_id))  # a moved one has its claim where it came from
        claims = (self._store.get(CLAIMS, f"{each}/id/{request_id}") for each in queues)
        return next((claim for claim in claims if claim is not None), None)

    def _result(self, container: str, path: str, when: float) -> Found | None:
        try:
            data = self._store.get(container, RunPath.parse(path).file(RESULT))
            result = None if data is None else read_result_tar(data)
        except ResultError:
            return Found(Shown.OTHERFAIL, when, {"reason": "its result cannot be read"})
        if result is None:
            return None  # the store's servers do not agree yet
        ended = {"exit_code": result.exit_code}
        place = {} if is_private(container) else {"container": container, "path": path}
        return Found(Shown.of(result.outcome), when, {**ended, **place})

    def _look_among_dead_letters(self) -> int:
        now = time.time()
        if now < self._next_dead:
            return 0
        # all of them, not those only that are due now: it is rare
        with index_errors(), self._memory.connect() as connection:
            old = statuses.waiting_since(connection, now - _DEAD_AFTER)
        if not old:
            return 0
        self._next_dead = now + _DEAD_PAUSE
        changed = 0
        for letter in self._letters():
            if letter.request_id in old:
                with index_errors(), self._memory.begin() as connection:
                    ended = {"reason": letter.reason}
                    changed += statuses.change(
                        connection, letter.request_id, Shown.REJECTED, when=now, ended=ended
                    )
        return changed


def _by_index(known: RequestRow | None) -> Found | None:
    if known is None:
        return None
    reason = {"reason": known.reason}
    if known.state is RequestState.REJECTED:
        return Found(Shown.REJECTED, known.updated, reason)
    if known.state is RequestState.CANCELLED:
        return Found(Shown.CANCELLED, known.updated, reason)
    if known.state is RequestState.RUNNING:
        return Found(Shown.RUNNING, known.taken or known.updated, {})
    if known.state is RequestState.QUEUED and known.reason:  # given back
        return Found(Shown.QUEUED, known.updated, {})
    return None


def _runs(claim: bytes | None) -> bool:
    try:
        return parse_object(claim or b"{}").get("state") in ("running", "storing")
    except ValueError:
        return False
