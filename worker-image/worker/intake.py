# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which queues a worker listens to at the moment, and how many messages the broker may send it.

While slots are free and nothing waits, it listens to all queues: what comes is here at once. When the
slots were all in use, each one that gets free is for the queue whose turn it is (`worker.turns`).
A worker takes no more than it can run, and sends nothing back unless it is told to stop, to reload or to
drain its last host: a message that was sent back is marked as redelivered, and for a body without an id
that mark decides which request it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import check_consuming
from testyard.queue import QueueName
from worker.turns import Turns

#: Called with what the broker sent; the first argument is its queue.
OnMessage = Callable[[QueueName, Basic.Deliver, BasicProperties, bytes], None]


class Intake:
    """One channel's subscriptions to queues that compete for the same hosts. Raises pika's errors.

    ``room`` says how many more runs of a queue could begin now; a message that has arrived counts
    from `OnMessage` on.
    """

    def __init__(
        self,
        channel: BlockingChannel,
        queues: Iterable[QueueName],
        turns: Turns,
        room: Callable[[QueueName], int],
        on_message: OnMessage,
    ) -> None:
        self._channel = channel
        self._queues = tuple(queues)
        self._turns = turns
        self._room = room
        self._on_message = on_message
        self._tags: dict[QueueName, str] = {}
        self.held = 0  # messages that are not settled
        self._coming = 0  # messages that may still come without another word from us
        self._told = -1  # the broker's limit, as last told
        self._open = False
        self.listening = False

    def start(self) -> None:
        """Listen."""
        self.listening = True
        self._admit()

    def look(self) -> None:
        """Call it every now and then, and when ``room`` may have changed.

        Raises BrokerError if the broker has ended a subscription.
        """
        check_consuming(self._channel, expected=len(self._tags))
        if self.listening:
            self._admit()

    def settle(self, tell: Callable[[], None]) -> None:
        """Tell the broker how a message was settled."""
        self.held -= 1
        if self.listening:
            self._admit()
        tell()

    def stop(self) -> None:
        """Take no more."""
        self.listening = False
        self._leave(self._tags)

    def _admit(self) -> None:
        """Say what may come next."""
        able = tuple(queue for queue in self._queues if self._room(queue) > 0)
        full = set(self._tags).difference(able)
        if not able or (full and self._coming > 0):
            self._shut()
        elif self._open and self._coming > 0:
            self._listen(able)
        else:
            self._choose(able)

    def _shut(self) -> None:
        """Let nothing more come until the next look; what is on its way arrives meanwhile."""
        if self.held:
            self._limit(self.held)
        else:  # a limit of 0 would be none at all
            self._leave(self._tags)
        self._coming = 0

    def _choose(self, able: tuple[QueueName, ...]) -> None:
        queue = self._turns.choose(lambda queue: queue in able and self._waits(queue))
        self._open = queue is None
        wanted = able if queue is None else (queue,)
        if self._coming <= 0:  # nothing is on its way: only then may a subscription end and send nothing back
            self._leave(set(self._tags).difference(wanted))
        self._listen(wanted)

    def _listen(self, wanted: Iterable[QueueName]) -> None:
        """Have as many come as there is room for, whatever queue they are from; one if others wait."""
        self._coming = min(self._room(queue) for queue in wanted) if self._open else 1
        self._limit(self.held + self._coming)
        for queue in wanted:
            if queue not in self._tags:
                self._tags[queue] = self._channel.basic_consume(str(queue), partial(self._arrived, queue))

    def _arrived(
        self,
        queue: QueueName,
        _channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        self.held += 1
        self._coming -= 1
        if not self._open:  # else nothing else waited, and nobody was passed over
            self._turns.took(queue)
        self._on_message(queue, method, properties, body)
        if self.listening and not self._coming:
            self._admit()

    def _waits(self, queue: QueueName) -> bool:
        return bool(self._channel.queue_declare(str(queue), passive=True).method.message_count)

    def _leave(self, queues: Iterable[QueueName]) -> None:
        for queue in tuple(queues):
            self._channel.basic_cancel(self._tags.pop(queue))

    def _limit(self, messages: int) -> None:
        if messages != self._told:
            # one limit for all queues of the channel together
            self._channel.basic_qos(prefetch_count=messages, global_qos=True)
            self._told = messages
