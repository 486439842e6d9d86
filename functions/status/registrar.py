# SPDX-License-Identifier: AGPL-3.0-or-later
"""Enters requests that came straight by AMQP, from the copies that the broker's tracer makes.

The copies come by the same queue as the events: so a request's arrival is read before its taking.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Engine

from testyard.adapters.amqp import SharedPublisher, connect, queue_length
from testyard.arrival import Arrival
from testyard.errors import ResultError
from testyard.index import index_errors
from testyard.index.arrivals import event_of, note_arrival
from testyard.index.write import apply_event

log = logging.getLogger(__name__)


class Registrar:
    """For one thread. ``publisher`` parks what went to a queue that is not there.

    ``there`` are queues that surely exist; others are asked for, and kept in mind once they were seen.
    """

    def __init__(self, engine: Engine, publisher: SharedPublisher, url: str, there: Iterable[str]) -> None:
        self._engine, self._publisher, self._url = engine, publisher, url
        self._there = set(there)

    def take(self, headers: Mapping[str, Any], body: bytes) -> None:
        """Enter one copy. Raises BrokerError, TestyardError if it has to come again."""
        arrived = Arrival.of_trace(headers, body)
        if arrived is None or arrived.told:  # who sent that asked for a confirm, and tells of it by an event
            return
        if not self._exists(arrived.queue):
            self._park(arrived)
            return
        event = event_of(arrived, now=time.time())
        if event is None:
            return
        try:
            with index_errors(), self._engine.begin() as connection:
                note_arrival(connection, arrived, event)
                apply_event(connection, event)
        except ResultError as error:  # longer than any column: its worker says what is wrong with it
            log.info("%s: an arrival is not entered: %s", arrived.queue, error.brief)

    def _exists(self, queue: str) -> bool:
        if queue not in self._there:
            with connect(self._url) as connection:
                if queue_length(connection, queue) is None:
                    return False
            self._there.add(queue)
        return True

    def _park(self, arrived: Arrival) -> None:
        """The broker dropped it without a word to its sender, and this copy is all that is left of it."""
        reason = f"queue: there is no {arrived.queue[:200]}: nobody could take this"
        log.warning("parked: %s", reason)
        self._publisher.park(
            arrived.body, queue=arrived.queue[:200], reason=reason, request_id=arrived.request_id or ""
        )
