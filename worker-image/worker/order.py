# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs of one source become visible in the order of their ids: one is stored after the other.

Migration software asks for run ids greater than the greatest it has seen. A run that becomes visible
later with a smaller id would never be read. So whoever stores a run of a source first waits for its
turn, and chooses the id only then.

The turn is RabbitMQ's: a queue with a single active consumer. Workers subscribe, each leaves a message
there, and whom the broker sends one is the active one; it stays so until it leaves or is gone, and then
the one that has waited longest follows. The active one gets all messages, and gives one back when it
leaves, which the next one gets. So none waits in the queue while there is anybody to have it: RabbitMQ
3.10 crashes, or sends nothing for ever, when an active consumer leaves a queue with messages in it
(seen, with 24 that take turns at 6 queues, in each run).
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPChannelError, AMQPError
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import broker_errors, check_consuming, connect
from testyard.errors import BrokerError, CancelledRun, TestyardError
from testyard.store import RunPath, is_private

_PREFIX = "testyard-order-"
#: Sources are spread over so many queues: RabbitMQ takes 10 ms to make one, and each that is there
#: costs it memory. Two sources of one queue wait for each other, which is seldom and does no harm.
_LANES = 256
#: Milliseconds after which the broker forgets a queue that nobody waits at.
_FORGET = 10 * 60 * 1000
#: Seconds for which a queue that was seen is taken to be there.
_SEEN = 300.0
#: Seconds between two looks at whether somebody wants to end, and at the turns that are kept.
_TICK = 0.5
#: The same while no turn is wanted.
_IDLE_TICK = 5.0
#: Seconds that the broker gets to answer whether the turn is still ours.
_ANSWER = 10.0
#: Seconds after which the messages that stand for the turn are exchanged for another: the broker takes
#: one back that is not acknowledged for 30 min, and an upload may take longer.
_EXCHANGE = 600.0


class TurnLost(TestyardError):  # noqa: N818  the name says it
    """The broker has given the turn to another."""


class TurnKeeper:
    """All turns of one worker, on one connection that opens when the first is wanted.

    For use by any thread. The connection is kept by a thread of its own: an upload may take longer
    than the broker waits for a sign of life.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._line: _Line | None = None

    def turn(self, container: str, path: RunPath, cancelled: threading.Event) -> Turn:
        """The turn to store a run beside ``path``; wait for it by ``with``."""
        return Turn(self._open_line, queue_name(container, path), cancelled)

    def alone(self, key: str, cancelled: threading.Event) -> Turn:
        """A turn that nobody else has who names the same key, on any worker."""
        return Turn(self._open_line, f"{_PREFIX}{_lane(key)}", cancelled)

    def close(self) -> None:
        """Give up all turns."""
        with self._lock:
            if self._line is not None:
                self._line.close()

    def _open_line(self) -> _Line:
        with self._lock:
            if self._line is None or self._line.ended.is_set():
                self._line = _Line(self._url)
                self._line.start()
            return self._line


class Turn:
    """``with`` waits for the turn, and gives it on at the end.

    Raises BrokerError if the broker is away, CancelledRun if ``cancelled`` is set meanwhile.
    """

    def __init__(self, open_line: Callable[[], _Line], name: str, cancelled: threading.Event) -> None:
        self._open_line = open_line
        self._cancelled = cancelled
        self._line: _Line | None = None
        self._place = _Place(name)

    def __enter__(self) -> Turn:
        self._line = self._open_line()
        self._line.ask(self._place, self._line.queue_up)
        place = self._place
        while not place.ours.wait(_TICK):
            if place.lost.is_set():
                with broker_errors("wait for a run's turn"):
                    raise place.error or OSError("it has closed the connection")
            if self._cancelled.is_set():
                self._line.ask(place, self._line.leave)
                raise CancelledRun("the worker was told to stop")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._line is not None
        self._line.ask(self._place, self._line.leave)

    def check(self) -> None:
        """Ask the broker whether the turn is still ours. Raises TurnLost if it is not, or does not answer."""
        assert self._line is not None
        place = self._place
        place.proven.clear()
        self._line.ask(place, self._line.prove)
        if not place.proven.wait(_ANSWER) or place.lost.is_set():
            raise TurnLost("broker: the turn to store a run was lost with the connection")


class _Place:
    """One run's place in a queue. The events are for its job, the rest is the line's."""

    def __init__(self, name: str) -> None:
        self.queue = name
        self.ours = threading.Event()
        self.proven = threading.Event()
        self.lost = threading.Event()
        self.error: Exception | None = None
        self.channel: BlockingChannel | None = None
        self.tag = ""
        self.messages: list[int] = []  # their numbers on the channel
        self.since = 0.0

    def lose(self, error: Exception | None) -> None:
        """There is no turn any more; nobody waits in vain."""
        self.error = error
        self.lost.set()
        self.proven.set()

    def arrived(
        self, _channel: BlockingChannel, method: Basic.Deliver, _properties: BasicProperties, _body: bytes
    ) -> None:
        """The broker has sent a message: it is our turn."""
        if not self.messages:
            self.since = time.monotonic()
        self.messages.append(method.delivery_tag)
        self.ours.set()


_Action = Callable[[_Place, pika.BlockingConnection], None]


class _Line(threading.Thread):
    """One connection with all places that are kept on it. It ends with the connection, and they with it."""

    def __init__(self, url: str) -> None:
        super().__init__(name="turns", daemon=True)
        self._url = url
        self._connection: pika.BlockingConnection | None = None
        self._asked: queue.SimpleQueue[tuple[_Place, _Action]] = queue.SimpleQueue()
        self._places: set[_Place] = set()
        self._free: list[BlockingChannel] = []
        self._seen: dict[str, float] = {}
        self._error: Exception | None = None
        self._over = threading.Event()
        self.ended = threading.Event()

    def ask(self, place: _Place, action: _Action) -> None:
        """Have something done on the connection, by its thread."""
        self._asked.put((place, action))
        self._wake()
        if self.ended.is_set():  # perhaps just now: then nobody looks at what is asked
            self._lose_all()

    def close(self) -> None:
        """End it soon."""
        self._over.set()
        self._wake()

    def run(self) -> None:
        """Keep the connection until it breaks."""
        try:
            with connect(self._url) as connection:
                self._connection = connection
                while not self._over.is_set():
                    self._serve(connection)
                    connection.process_data_events(time_limit=_TICK if self._places else _IDLE_TICK)
        except (AMQPError, OSError, TestyardError) as error:
            self._error = error
        finally:
            self.ended.set()
            self._lose_all()

    def _lose_all(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._asked.get_nowait()[0].lose(self._error)
        for place in tuple(self._places):
            place.lose(self._error)

    def _serve(self, connection: pika.BlockingConnection) -> None:
        while not self._asked.empty():
            place, action = self._asked.get()
            self._try(place, action, connection)
        for place in tuple(self._places):
            self._try(place, self._look, connection)

    def _try(self, place: _Place, action: _Action, connection: pika.BlockingConnection) -> None:
        """A channel that the broker has closed is one place's loss."""
        try:
            action(place, connection)
        except (AMQPChannelError, BrokerError) as error:
            self._places.discard(place)
            self._seen.pop(place.queue, None)
            place.lose(error)

    def queue_up(self, place: _Place, connection: pika.BlockingConnection) -> None:
        """Subscribe, and leave a message."""
        place.channel = channel = self._free.pop() if self._free else connection.channel()
        self._places.add(place)
        if time.monotonic() - self._seen.get(place.queue, -_SEEN) >= _SEEN:
            arguments = {"x-single-active-consumer": True, "x-expires": _FORGET}
            channel.queue_declare(place.queue, durable=True, arguments=arguments)
            self._seen[place.queue] = time.monotonic()
        place.tag = channel.basic_consume(place.queue, place.arrived)
        channel.basic_publish("", place.queue, b"")

    def prove(self, place: _Place, _connection: pika.BlockingConnection) -> None:
        """Find out whether the turn is still the place's."""
        assert place.channel is not None
        # a round trip: what was cut off, or taken over by another, gets no answer
        place.channel.queue_declare(place.queue, passive=True)
        check_consuming(place.channel, expected=1)
        place.proven.set()

    def leave(self, place: _Place, _connection: pika.BlockingConnection) -> None:
        """Give the turn on, or the place up."""
        if place not in self._places or place.channel is None:
            return
        place.channel.basic_cancel(place.tag)
        # all but one are of those who wait, or were left over by the dead
        if len(place.messages) > 1:
            place.channel.basic_ack(place.messages[-2], multiple=True)
        if place.messages:
            place.channel.basic_nack(place.messages[-1], requeue=True)
        self._places.discard(place)
        self._free.append(place.channel)

    def _look(self, place: _Place, _connection: pika.BlockingConnection) -> None:
        assert place.channel is not None
        check_consuming(place.channel, expected=1)
        if place.messages and time.monotonic() - place.since > _EXCHANGE:
            place.channel.basic_publish("", place.queue, b"")
            place.channel.basic_ack(place.messages[-1], multiple=True)
            place.messages.clear()

    def _wake(self) -> None:
        if self._connection is not None:
            with suppress(AMQPError):  # it may be closed already
                self._connection.add_callback_threadsafe(lambda: None)


def queue_name(container: str, path: RunPath) -> str:
    """The queue of all runs that one poller sees together, and of some others.

    All private runs have one: everybody may ask whether a queue is there, and whoever guesses container
    and source would learn from the name that a private run of it is being stored.
    """
    if is_private(container):
        return f"{_PREFIX}private"
    return f"{_PREFIX}{_lane(f'{container}/{path.parent}')}"


def _lane(key: str) -> str:
    digest = hashlib.sha256(key.encode()).digest()
    return f"{int.from_bytes(digest[:4], 'big') % _LANES:02x}"
