# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others may watch while a request is worked on: events and status messages.

Best effort: a test never waits for its spectators. What must arrive (the completion message) does
not go this way.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

from testyard.adapters.amqp import Publisher
from testyard.errors import BrokerError
from testyard.event import (
    EVENTS_EXCHANGE,
    PRIVATE_LOG,
    PRIVATE_PACKAGE,
    STATUS_EXCHANGE,
    Event,
    EventKind,
    StatusMessage,
)
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.run import PhaseTime
from testyard.store import is_private

log = logging.getLogger(__name__)

#: Messages, and their bytes, that may wait for the broker; beyond that the newest are dropped.
_BACKLOG = 2000
_BACKLOG_BYTES = 32 * 1024 * 1024

#: Seconds between two looks at an idle connection's heartbeats.
_IDLE = 1.0
#: Seconds between two attempts to reach a broker that is away.
_PAUSE = 1.0
#: How often one message is tried: a broker that restarts is back within 5 s.
_ATTEMPTS = 8


class LiveSender(threading.Thread):
    """Sends what it is handed, in order, on a connection of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(name="live", daemon=True)
        self._publisher = Publisher(url)
        self._waiting: queue.Queue[tuple[str, str, bytes] | None] = queue.Queue(_BACKLOG)
        self._lock = threading.Lock()
        self._bytes = 0

    def send(self, exchange: str, key: str, body: bytes) -> None:
        """Take a message for sending; dropped if too many wait already."""
        with self._lock:
            if self._bytes + len(body) > _BACKLOG_BYTES:
                log.debug("a live message was dropped: the broker is away or slow")
                return
            self._bytes += len(body)
        try:
            self._waiting.put_nowait((exchange, key, body))
        except queue.Full:
            self._forget(body)
            log.debug("a live message was dropped: the broker is away or slow")

    def _forget(self, body: bytes) -> None:
        with self._lock:
            self._bytes -= len(body)

    def finish(self, timeout: float) -> None:
        """Send what waits, at most for ``timeout`` seconds, and end."""
        try:
            self._waiting.put(None, timeout=timeout)
        except queue.Full:
            return
        self.join(timeout)

    def run(self) -> None:
        """Send until `finish` is called."""
        while (message := self._next()) is not None:
            self._forget(message[2])
            self._send(*message)
        self._publisher.close()

    def _next(self) -> tuple[str, str, bytes] | None:
        """The next message, None at the end; keeps the connection alive until one comes."""
        while True:
            try:
                return self._waiting.get(timeout=_IDLE)
            except queue.Empty:
                self._publisher.serve()

    def _send(self, exchange: str, key: str, body: bytes) -> None:
        for _ in range(_ATTEMPTS):
            try:
                self._publisher.publish(exchange, key, body, persistent=False)
            except BrokerError as error:
                log.warning("live message not sent: %s", error.brief)
                time.sleep(_PAUSE)
            else:
                return


class LiveReport:
    """What one request shows of itself. A private one shows that it is there, and its phases."""

    def __init__(self, sender: LiveSender, request: TestRequest, request_id: str, place: QueueName) -> None:
        self._sender = sender
        self._request = request
        self._id = request_id
        self._place = place
        self._package = PRIVATE_PACKAGE if request.private else request.package
        self._parameters = {} if request.private else dict(request.parameters)

    def event(self, kind: EventKind, **data: Any) -> None:
        """Tell one step."""
        event = Event(kind, self._id, str(self._place), self._package, data=data)
        self._sender.send(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())

    def taken(self, worker: str) -> None:
        """Work on the request begins."""
        self.event(EventKind.TAKEN, worker=worker, parameters=self._parameters)

    def phase(self, phase: PhaseTime) -> None:
        """A phase began or ended."""
        told = PhaseTime(phase.phase, phase.started, phase.seconds) if self._request.private else phase
        self.event(EventKind.PHASE, **told.to_json())

    def log(self, text: bytes, end: int) -> None:
        """The log's next piece, which ends at byte ``end``."""
        if not self._request.private:
            self.event(EventKind.LOG, text=text.decode("utf-8", errors="replace"), end=end)

    def stored(self, container: str, path: str, exit_code: int) -> None:
        """The result is in the store."""
        if self._request.private or is_private(container):
            self.event(EventKind.STORED)
        else:
            self.event(EventKind.STORED, container=container, path=path, exit_code=exit_code)

    def status(self, *, running: bool, seconds: float, tail: str) -> None:
        """The message that the older system's readers know."""
        message = StatusMessage(
            release=self._place.release,
            architecture=self._place.architecture,
            package=self._package,
            running=running,
            params=self._parameters,
            duration=int(seconds),
            logtail=PRIVATE_LOG if self._request.private else tail,
            uuid=None if self._request.private else self._id,
        )
        self._sender.send(STATUS_EXCHANGE, "", message.to_bytes())
