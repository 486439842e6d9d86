# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which queues a worker listens to at the moment, and how many messages the broker may send it.

While slots are free and nothing waits, it listens to all queues: what comes is here at once. When the
slots were all in use, each one that gets free is for the queue whose turn it is (`worker.turns`).
A worker never holds what it cannot run, and sends nothing back: a message that was sent back is
marked as redelivered, and for a body without an id that mark decides which request it is.
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
    """One channel's subscriptions, for ``slots`` messages at a time. Raises pika's errors.

    ``elsewhere`` slots are in use by runs of an earlier connection, until `freed` is called for each.
    """

    def __init__(
        self,
        channel: BlockingChannel,
        queues: Iterable[QueueName],
        turns: Turns,
        slots: int,
        on_message: OnMessage,
        *,
        elsewhere: int = 0,
    ) -> None:
        self._channel = channel
        self._queues = tuple(queues)
        self._turns = turns
        self._slots = slots - elsewhere
        self._on_message = on_message
        self._tags: dict[QueueName, str] = {}
        self._held = 0
        self._open = False
        self.listening = False

    def start(self) -> None:
        """Listen."""
        self.listening = True
        self._let_in(keep=False)

    def look(self) -> None:
        """Call it every now and then: what another worker took is no longer waited for.

        Raises BrokerError if the broker has ended a subscription.
        """
        check_consuming(self._channel, expected=len(self._tags))
        if self.listening and not self._open:
            self._let_in(keep=True)

    def settle(self, tell: Callable[[], None]) -> None:
        """Tell the broker how a message was settled: one slot is free."""
        was_full = self._held == self._slots
        self._held -= 1
        if self.listening and was_full:
            # nothing is on its way: only now may a subscription end without sending anything back
            self._let_in(keep=False)
        elif self.listening and not self._open:
            self._limit(self._held + 1)
        tell()

    def freed(self) -> None:
        """A run of an earlier connection has ended: one slot is free."""
        was_full = self._held == self._slots
        self._slots += 1
        if self.listening and was_full:
            self._let_in(keep=False)
        elif self.listening and self._open:
            self._limit(self._slots)

    def stop(self) -> None:
        """Take no more."""
        self.listening = False
        for queue in tuple(self._tags):
            self._leave(queue)

    def _let_in(self, *, keep: bool) -> None:
        """One more, from the queue whose turn it is, or whatever comes if nothing waits."""
        if self._held >= self._slots:
            return
        queue = self._turns.choose(self._waits)
        self._open = queue is None
        wanted = self._queues if queue is None else (queue,)
        if not keep:
            for other in set(self._tags).difference(wanted):
                self._leave(other)
        self._limit(self._slots if self._open else self._held + 1)
        for one in wanted:
            if one not in self._tags:
                self._tags[one] = self._channel.basic_consume(str(one), partial(self._arrived, one))

    def _arrived(
        self,
        queue: QueueName,
        _channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        self._held += 1
        if not self._open:  # else nothing else waited, and nobody was passed over
            self._turns.took(queue)
        self._on_message(queue, method, properties, body)
        if self.listening and not self._open:
            self._let_in(keep=False)

    def _waits(self, queue: QueueName) -> bool:
        return bool(self._channel.queue_declare(str(queue), passive=True).method.message_count)

    def _leave(self, queue: QueueName) -> None:
        self._channel.basic_cancel(self._tags.pop(queue))

    def _limit(self, messages: int) -> None:
        # one limit for all queues of the channel together
        self._channel.basic_qos(prefetch_count=messages, global_qos=True)
