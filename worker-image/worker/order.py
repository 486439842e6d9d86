# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs of one source become visible in the order of their ids: one is stored after the other.

Migration software asks for run ids greater than the greatest it has seen. A run that becomes visible
later with a smaller id would never be read. So whoever stores a run of a source first waits for its
turn, and chooses the id only then.

The turn is RabbitMQ's: a queue with a single active consumer. Workers subscribe, each leaves one
message there, and whom the broker sends one is the active one; it stays so until it leaves or is gone,
and then the one that has waited longest follows. A message that a dead worker leaves over does no harm:
the broker sends it to nobody but the active one.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from types import TracebackType

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import broker_errors, check_consuming, connect
from testyard.errors import CancelledRun, TestyardError
from testyard.store import RunPath, is_private

_PREFIX = "testyard-order-"
#: Milliseconds after which the broker forgets a queue that nobody waits at.
_FORGET = 10 * 60 * 1000
#: Seconds between two looks at whether somebody wants to end.
_TICK = 0.5
#: Seconds that the broker gets to answer whether the turn is still ours.
_ANSWER = 10.0
#: Seconds after which the message that stands for the turn is exchanged for another: the broker takes
#: one back that is not acknowledged for 30 min, and an upload may take longer.
_EXCHANGE = 600.0


class TurnLost(TestyardError):  # noqa: N818  the name says it
    """The broker has given the turn to another."""


class Turn:
    """``with`` waits for the turn, and gives it on at the end.

    Raises BrokerError if the broker is away, CancelledRun if ``cancelled`` is set meanwhile.
    Kept by a thread of its own: an upload may take longer than the broker waits for a sign of life.
    """

    def __init__(self, url: str, container: str, path: RunPath, cancelled: threading.Event) -> None:
        self._url = url
        self._queue = queue_name(container, path)
        self._cancelled = cancelled
        self._ours = threading.Event()
        self._over = threading.Event()
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._connection: pika.BlockingConnection | None = None
        self._message: int | None = None
        self._since = 0.0
        self._asked = threading.Event()
        self._proven = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="turn", daemon=True)

    def __enter__(self) -> Turn:
        self._thread.start()
        try:
            self._wait()
        except TestyardError:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _wait(self) -> None:
        while not self._ours.wait(_TICK):
            if self._ended.is_set():
                with broker_errors("wait for a run's turn"):
                    raise self._error or OSError("it has closed the connection")
            if self._cancelled.is_set():
                raise CancelledRun("the worker was told to stop")

    def _end(self) -> None:
        self._over.set()
        self._wake()
        # a connection that was cut silently is given up by its thread later; nobody need wait for that
        self._thread.join(_ANSWER)

    def check(self) -> None:
        """Ask the broker whether the turn is still ours. Raises TurnLost if it is not, or does not answer."""
        self._proven.clear()
        self._asked.set()
        self._wake()
        deadline = time.monotonic() + _ANSWER
        while not self._proven.wait(0.05):
            if self._ended.is_set() or time.monotonic() > deadline:
                raise TurnLost("broker: the turn to store a run was lost with the connection")

    def _keep(self) -> None:
        try:
            with connect(self._url) as connection:
                self._connection = connection
                channel = connection.channel()
                arguments = {"x-single-active-consumer": True, "x-expires": _FORGET}
                channel.queue_declare(self._queue, durable=True, arguments=arguments)
                channel.basic_qos(prefetch_count=1)
                channel.basic_consume(self._queue, self._arrived)
                channel.basic_publish("", self._queue, b"")
                while not self._over.is_set():
                    connection.process_data_events(time_limit=_TICK)
                    self._serve(channel)
                if self._message is not None:
                    channel.basic_ack(self._message)
        except (AMQPError, OSError, TestyardError) as error:
            self._error = error
        finally:
            self._ended.set()

    def _serve(self, channel: BlockingChannel) -> None:
        check_consuming(channel, expected=1)
        if self._asked.is_set():
            self._asked.clear()
            # a round trip: what was cut off, or taken over by another, gets no answer
            channel.queue_declare(self._queue, passive=True)
            check_consuming(channel, expected=1)
            self._proven.set()
        if self._message is not None and time.monotonic() - self._since > _EXCHANGE:
            channel.basic_publish("", self._queue, b"")
            channel.basic_ack(self._message)
            self._message = None

    def _arrived(
        self, _channel: BlockingChannel, method: Basic.Deliver, _properties: BasicProperties, _body: bytes
    ) -> None:
        self._message = method.delivery_tag
        self._since = time.monotonic()
        self._ours.set()

    def _wake(self) -> None:
        if self._connection is not None:
            with suppress(AMQPError):  # it may be closed already
                self._connection.add_callback_threadsafe(lambda: None)


def queue_name(container: str, path: RunPath) -> str:
    """The queue of all runs that one poller sees together.

    All private runs have one: everybody may ask whether a queue is there, and whoever guesses container
    and source would learn from the name that a private run of it is being stored.
    """
    if is_private(container):
        return f"{_PREFIX}private"
    digest = hashlib.sha256(f"{container}/{path.parent}".encode()).hexdigest()
    return f"{_PREFIX}{digest[:32]}"
