# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the door reaches the broker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from testyard.adapters.async_publisher import AsyncPublisher
from testyard.arrival import ACCEPTED_HEADER
from testyard.errors import BrokerError
from testyard.event import EVENTS_EXCHANGE, PRIVATE_PACKAGE, Event, EventKind
from testyard.queue import QueueName
from testyard.request import parse_body
from testyard.secrets import masked_parameters

#: Messages under way at a time.
_AT_ONCE = 500
#: Seconds; half of the heartbeats' interval that is asked for.
IDLE = 30.0


@dataclass(frozen=True)
class Message:
    """A request on its way. ``created`` is when it was accepted, if that is not now (Unix time)."""

    queue: QueueName
    body: bytes
    request_id: str
    created: float | None = None


class Sender(Protocol):
    """How messages reach the broker. None of these raises for what happens there."""

    def send_all(self, messages: Sequence[Message]) -> list[BrokerError | None]:
        """Put requests into their queues; what became of each.

        NotSentError if it surely is not there, another BrokerError if that is not known.
        """

    def tell_all(self, events: Sequence[Event]) -> None:
        """Tell of steps, as far as that is possible now."""


def accepted_event(message: Message) -> Event:
    """What others are told of a request that was accepted; of a private one nothing but that."""
    request = parse_body(message.body)
    package = PRIVATE_PACKAGE if request.private else request.package
    data = {"parameters": {} if request.private else masked_parameters(request.parameters)}
    event = Event(EventKind.ACCEPTED, message.request_id, str(message.queue), package, data=data)
    if message.created is None:
        return event
    return Event(event.kind, event.request_id, event.queue, package, message.created, data)


class BrokerSender:
    """Sends for any number of threads, many messages at a time, over one connection.

    A loop of its own, in a thread, waits for the confirms and answers the broker's heartbeats.
    ``queues`` are declared with each new connection. After ``idle`` seconds without a message it connects
    anew: a process that is frozen between two calls has missed the broker's heartbeats.
    """

    def __init__(self, url: str, queues: Sequence[QueueName] = (), *, idle: float = IDLE) -> None:
        names = [str(queue) for queue in queues]
        self._publisher = AsyncPublisher(url, queues=names, most=4 * _AT_ONCE, idle=idle)
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sender", daemon=True)
        self._thread.start()

    def send_all(self, messages: Sequence[Message]) -> list[BrokerError | None]:
        """See `Sender`."""
        return self._do([self._send(message) for message in messages])

    def tell_all(self, events: Sequence[Event]) -> None:
        """See `Sender`."""
        self._do([self._tell(event) for event in events])

    def close(self) -> None:
        """Close the connection and end the thread; nothing may be sent afterwards."""
        asyncio.run_coroutine_threadsafe(self._publisher.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Sequence[Coroutine[Any, Any, BrokerError | None]]) -> list[BrokerError | None]:
        return asyncio.run_coroutine_threadsafe(_all(work), self._loop).result()

    async def _send(self, message: Message) -> BrokerError | None:
        headers = {ACCEPTED_HEADER: str(message.created or time.time())}
        return await self._publish("", str(message.queue), message.body, message.request_id, headers)

    async def _tell(self, event: Event) -> BrokerError | None:
        return await self._publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())

    async def _publish(
        self, exchange: str, key: str, body: bytes, message_id: str = "", headers: Any = None
    ) -> BrokerError | None:
        try:
            async with self._places:
                await self._publisher.publish(
                    exchange, key, body, message_id=message_id, headers=headers, mandatory=bool(message_id)
                )
        except BrokerError as error:
            return error
        return None


async def _all(work: Sequence[Coroutine[Any, Any, BrokerError | None]]) -> list[BrokerError | None]:
    return list(await asyncio.gather(*work))
