# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others may watch while a request is worked on: events and status messages.

Best effort: a test never waits for its spectators. What must arrive (the completion message) does
not go this way.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
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
from testyard.livelog import LogPiece
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.run import PhaseTime
from testyard.secrets import masked_parameters
from testyard.store import is_private

log = logging.getLogger(__name__)

#: Messages, and their bytes, that may wait for the broker; beyond that the newest are dropped.
_BACKLOG = 2000
_BACKLOG_BYTES = 32 * 1024 * 1024

#: Seconds between two looks at an idle connection's heartbeats.
_IDLE = 1.0
#: Seconds between two attempts to reach a broker that is away.
_PAUSE = 1.0


@dataclass(frozen=True)
class Message:
    """What is sent. A ``fleeting`` one is of no use later: it is tried once."""

    exchange: str
    key: str
    body: bytes
    fleeting: bool = False


#: Makes messages when it is their turn.
Maker = Callable[[], Iterable[Message]]


class LiveSender(threading.Thread):
    """Sends what it is handed, in order, on a connection of its own; waits for a broker that is away."""

    def __init__(self, url: str) -> None:
        super().__init__(name="live", daemon=True)
        self._publisher = Publisher(url)
        self._waiting: queue.Queue[Message | Maker | None] = queue.Queue(_BACKLOG)
        self._lock = threading.Lock()
        self._bytes = 0
        self._finishing = threading.Event()

    def send(self, message: Message) -> None:
        """Take a message for sending; dropped if too many wait already."""
        with self._lock:
            if self._bytes + len(message.body) > _BACKLOG_BYTES:
                log.debug("a live message was dropped: the broker is away or slow")
                return
            self._bytes += len(message.body)
        if not self._put(message):
            self._forget(message)

    def send_made(self, maker: Maker) -> bool:
        """Send what ``maker`` gives when its turn comes; False if too many wait already."""
        return self._put(maker)

    def _put(self, item: Message | Maker) -> bool:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            log.debug("a live message was dropped: the broker is away or slow")
            return False
        return True

    def _forget(self, message: Message) -> None:
        with self._lock:
            self._bytes -= len(message.body)

    def finish(self, timeout: float) -> None:
        """Send what waits, at most for ``timeout`` seconds, and end."""
        self._finishing.set()
        try:
            self._waiting.put(None, timeout=timeout)
        except queue.Full:
            return
        self.join(timeout)

    def run(self) -> None:
        """Send until `finish` is called."""
        while (item := self._next()) is not None:
            if isinstance(item, Message):
                self._forget(item)
                self._send(item)
            else:
                for message in item():
                    self._send(message)
        self._publisher.close()

    def _next(self) -> Message | Maker | None:
        """What is next, None at the end; keeps the connection alive until something comes."""
        while True:
            try:
                return self._waiting.get(timeout=_IDLE)
            except queue.Empty:
                self._publisher.serve()

    def _send(self, message: Message) -> None:
        told = False
        while True:
            try:
                self._publisher.publish(message.exchange, message.key, message.body, persistent=False)
            except BrokerError as error:
                if not told:
                    log.warning("live messages wait: %s", error.brief)
                told = True
                if message.fleeting or self._finishing.wait(_PAUSE):
                    return
            else:
                return


class LiveReport:
    """What one request shows of itself. A private one shows that it is there, and its phases.

    ``digest`` is the body's, if it came without an id: by it its arrival is found.
    """

    def __init__(
        self, sender: LiveSender, request: TestRequest, request_id: str, place: QueueName, *, digest: str = ""
    ) -> None:
        self._sender = sender
        self._digest = {"digest": digest} if digest and not request.private else {}
        self._request = request
        self._id = request_id
        self._place = place
        self._package = PRIVATE_PACKAGE if request.private else request.package
        self._parameters = {} if request.private else masked_parameters(request.parameters)

    @property
    def private(self) -> bool:
        """True if nobody may watch the log."""
        return self._request.private

    def event(self, kind: EventKind, **data: Any) -> None:
        """Tell one step."""
        self._sender.send(self._message(kind, data))

    def _message(self, kind: EventKind, data: dict[str, Any]) -> Message:
        event = Event(kind, self._id, str(self._place), self._package, data=data)
        return Message(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())

    def taken(self, worker: str) -> None:
        """Work on the request begins."""
        self.event(EventKind.TAKEN, worker=worker, parameters=self._parameters, **self._digest)

    def phase(self, phase: PhaseTime) -> None:
        """A phase began or ended."""
        told = PhaseTime(phase.phase, phase.started, phase.seconds) if self._request.private else phase
        self.event(EventKind.PHASE, **told.to_json())

    def log(self, pieces: Iterable[LogPiece]) -> None:
        """The log's next pieces."""
        for message in self._of_log(pieces):
            self._sender.send(message)

    def log_made(self, pieces: Callable[[], Iterable[LogPiece]]) -> bool:
        """The log's next pieces, made when it is their turn; False if too much waits already."""
        return self._sender.send_made(lambda: self._of_log(pieces()))

    def _of_log(self, pieces: Iterable[LogPiece]) -> Iterable[Message]:
        for piece in pieces if not self.private else ():
            yield self._message(EventKind.LOG, asdict(piece))

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
        self._sender.send(Message(STATUS_EXCHANGE, "", message.to_bytes(), fleeting=True))
