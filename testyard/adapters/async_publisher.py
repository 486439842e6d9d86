# SPDX-License-Identifier: AGPL-3.0-or-later
"""Publishing with confirms from an event loop: many messages under way at once, over one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import uuid4

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import broker_errors, connection_parameters
from testyard.errors import BrokerError, NotSentError, NotTakenError, TestyardError

_PERSISTENT = 2


class AsyncPublisher:
    """One connection, opened when first needed and after a failure; for one event loop.

    ``queues`` are declared, durable, with each new connection. At most ``most`` messages are under way.
    ``patience`` is in seconds, for the connection and for each confirm. After a failure it is not tried
    again for ``pause`` seconds: who asks meanwhile is told at once. After ``idle`` seconds without a message
    it connects anew, for a process that stands still meanwhile.
    """

    def __init__(
        self,
        url: str,
        *,
        queues: Sequence[str] = (),
        most: int = 2000,
        patience: float = 10.0,
        pause: float = 1.0,
        idle: float | None = None,
    ) -> None:
        self._parameters = connection_parameters(url)
        self._queues = tuple(queues)
        self._most, self._patience, self._pause = most, patience, pause
        self._line: _Line | None = None
        self._failed = -pause
        self._idle, self._used = idle, time.time()
        self.problem = ""

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        message_id: str = "",
        headers: Mapping[str, Any] | None = None,
        mandatory: bool = False,
        persistent: bool = True,
    ) -> None:
        """Send; returns when the broker has confirmed it, which it does when it is on disk.

        Raises NotSentError if the message surely is nowhere: the broker is away or takes nothing, or
        ``mandatory`` was asked and no queue is bound. Raises BrokerError if that is not known.
        """
        await self._drop_idle()
        line = await self._open()
        if line.under_way >= self._most:
            raise NotSentError(f"broker: {self._most} messages wait for it already")
        properties = pika.BasicProperties(
            delivery_mode=_PERSISTENT if persistent else 1,
            message_id=message_id or str(uuid4()),  # by it a returned one is known
            headers=dict(headers) if headers else None,
        )
        waiting = line.send(exchange, routing_key, body, properties, mandatory=mandatory)
        try:
            async with asyncio.timeout(self._patience):
                await waiting
        except TimeoutError:
            raise BrokerError(f"broker: no confirm within {self._patience:g} s") from None

    async def open(self) -> None:
        """Connect, so that the first message need not wait for it. Raises NotSentError."""
        await self._open()

    async def close(self) -> None:
        """Close the connection; what is under way is not known to have arrived."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _drop_idle(self) -> None:
        used, self._used = self._used, time.time()  # the wall clock goes on while a process is frozen
        line = self._line
        if self._idle is not None and self._used - used > self._idle and line and not line.under_way:
            self._line = None
            await line.close()

    async def _open(self) -> _Line:
        line = self._line
        if line is not None and line.usable:
            return line
        if line is None or line.problem is not None:
            if time.monotonic() - self._failed < self._pause:
                raise NotSentError(self.problem)
            line = self._line = _Line(self._parameters, self._queues)
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.shield(line.opened)
        except TimeoutError:
            error = NotSentError("broker: no answer (cannot connect)")
            line.fail(error)
            raise self._note(error) from None
        except BrokerError as error:
            raise self._note(error) from error
        self.problem = ""
        return line

    def _note(self, error: BrokerError) -> NotSentError:
        self._failed, self.problem = time.monotonic(), error.brief
        return NotSentError(error.brief, details=error.details, resolution=error.resolution)


@dataclass
class _Waiting:
    """A message that was sent and is not confirmed."""

    message_id: str
    queue: str
    future: asyncio.Future[None]


class _Line:
    """One connection with one channel, from its opening to its end, and what is under way on it."""

    def __init__(self, parameters: pika.URLParameters, queues: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.opened.add_done_callback(_heard)
        self.problem: BrokerError | None = None
        self._blocked = False
        self._queues = list(queues)
        self._channel: Channel | None = None
        self._sent = 0
        self._waiting: dict[int, _Waiting] = {}
        self._returned: set[str] = set()
        self._connection = AsyncioConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            custom_ioloop=self._loop,
        )

    @property
    def usable(self) -> bool:
        return self.problem is None and self.opened.done()

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    def send(
        self, exchange: str, key: str, body: bytes, properties: BasicProperties, *, mandatory: bool
    ) -> asyncio.Future[None]:
        if self._blocked:
            raise NotSentError("broker: it takes nothing at present: it is short of memory or disk")
        if self.problem or self._channel is None:
            raise NotSentError(self.problem.brief if self.problem else "broker: not connected")
        with broker_errors("publish"):
            self._channel.basic_publish(exchange, key, body, properties, mandatory=mandatory)
        self._sent += 1
        future = self._loop.create_future()
        future.add_done_callback(_heard)
        self._waiting[self._sent] = _Waiting(str(properties.message_id), key, future)
        return future

    async def close(self) -> None:
        self.fail(BrokerError("broker: the connection was closed before it confirmed"))
        for _ in range(50):  # its goodbye; at most 0.5 s
            if self._connection.is_closed:
                return
            await asyncio.sleep(0.01)

    def fail(self, error: BrokerError) -> None:
        if self.problem is None:
            self.problem = error
        if not self.opened.done():
            self.opened.set_exception(error)
        waiting, self._waiting = self._waiting, {}
        for item in waiting.values():
            _settle(item.future, BrokerError(error.brief, details=error.details, resolution=error.resolution))
        with suppress(AMQPError, OSError):
            if self._connection.is_open:
                self._connection.close()

    def _on_open(self, connection: AsyncioConnection) -> None:
        if self.problem is not None:  # who waited has given up
            connection.close()
            return
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        connection.channel(on_open_callback=self._on_channel)

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_end)
        channel.add_on_return_callback(self._on_return)
        self._declare(None)

    def _declare(self, _frame: Method | None) -> None:
        channel = self._channel
        if channel is None or self.problem:
            return
        if self._queues:
            channel.queue_declare(self._queues.pop(0), durable=True, callback=self._declare)
        else:
            channel.confirm_delivery(self._on_settled, callback=self._on_ready)

    def _on_ready(self, _frame: Method) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _on_end(self, _what: object, reason: BaseException | str) -> None:
        self.fail(_as_broker_error(reason, "go on" if self.opened.done() else "connect"))

    def _on_return(
        self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        self._returned.add(str(properties.message_id))  # its confirm follows

    def _on_settled(self, frame: Method) -> None:
        tag = int(frame.method.delivery_tag)
        confirmed = isinstance(frame.method, Basic.Ack)
        # a number is given once, and rising: "multiple" is all up to it
        tags = [each for each in self._waiting if each <= tag] if frame.method.multiple else [tag]
        for each in tags:
            item = self._waiting.pop(each, None)
            if item is not None:
                _settle(item.future, self._verdict(item, confirmed=confirmed))

    def _verdict(self, item: _Waiting, *, confirmed: bool) -> TestyardError | None:
        if item.message_id in self._returned:
            self._returned.discard(item.message_id)
            return NotTakenError(
                f"broker: there is no queue {item.queue}; nothing was sent",
                resolution="Let an operator run `testyard broker setup`.",
            )
        return None if confirmed else NotTakenError("broker: it refused the message")


def _as_broker_error(reason: BaseException | str, action: str) -> BrokerError:
    error = reason if isinstance(reason, BaseException) else AMQPError(reason)
    # pika hands on what its attempts met, one in the other
    while (inner := getattr(error, "exceptions", None) or [getattr(error, "exception", None)])[
        -1
    ] is not None:
        error = inner[-1]
    try:
        with broker_errors(action):
            _raise(error)
    except BrokerError as found:
        return found
    except Exception as other:  # noqa: BLE001  it may have met anything
        return BrokerError(f"broker: cannot {action}: {other or type(other).__name__}")


def _raise(error: BaseException) -> NoReturn:
    raise error


def _settle(future: asyncio.Future[None], error: TestyardError | None) -> None:
    if future.done():
        return  # who waited has gone
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _heard(future: asyncio.Future[None]) -> None:
    """Whoever waited may have gone: an error that nobody fetches is no news."""
    if not future.cancelled():
        future.exception()
