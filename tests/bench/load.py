# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sends signed deliveries, or publishes the same bodies bare, and tells how long each took.

A process of its own, so that its CPU is known. It makes all deliveries before the first is sent, and reads of
an answer only its status. What it is to do comes by stdin, what it found goes to stdout: `Order` and
`Outcome`, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import httptools
import pika
import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.frame import Method

from tests.bench.payloads import delivery
from testyard.intake.delivery import Delivery

#: Seconds after which a free connection is not used again: the server closes it after 5.
_IDLE = 3.0


@dataclass(frozen=True)
class Order:
    """``url`` is the function's, or the broker's with ``queue``. ``rate`` a second, at random as many people
    make it; 0: as many as go, ``under_way`` at a time.
    ``different``: so many deliveries are made before and used in turn; 0: each is made as it is sent, which
    takes 0.1 ms, from number ``first`` on."""

    url: str
    count: int
    queue: str = ""
    rate: float = 0.0
    under_way: int = 32
    connections: int = 8
    query: str = "release=noble&arch=amd64"
    different: int = 400
    first: int = 1


@dataclass(frozen=True)
class Outcome:
    """``latencies``: seconds from when each was to be sent to its answer. ``late``: how late 99 % were sent,
    at most."""

    latencies: list[float]
    answers: dict[str, int]
    seconds: float
    cpu: float
    late: float


class Way(Protocol):
    """Where to."""

    async def open(self, connections: int) -> None: ...

    async def send(self, number: int) -> str: ...


class Http:
    """Over as many connections as need be; those that are free are used again."""

    def __init__(self, order: Order) -> None:
        parts = urlsplit(order.url)
        self._host, self._port = parts.hostname, parts.port
        self._order = order
        self._made = [self._request(number) for number in range(order.different)]
        self._free: list[_Connection] = []

    async def open(self, connections: int) -> None:
        """Begin with so many."""
        self._free = [await self._connect() for _ in range(connections)]

    async def send(self, number: int) -> str:
        """The answer's status."""
        connection = self._free.pop() if self._free else await self._connect()
        if time.perf_counter() - connection.used > _IDLE:
            self._free.clear()  # the others are idle for longer
            connection = await self._connect()
        request = self._made[number % len(self._made)] if self._made else self._request(number)
        status = await connection.ask(request)
        self._free.append(connection)
        return str(status)

    def _request(self, number: int) -> bytes:
        headers, body = delivery(self._order.first + number)
        lines = {"Host": f"{self._host}:{self._port}", **headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST /hooks/github?{self._order.query} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port))[1]


class _Connection(asyncio.Protocol):
    """One request at a time."""

    _transport: asyncio.WriteTransport
    _answered: asyncio.Future[int]
    _parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        self.used = time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is of no class of asyncio

    def ask(self, request: bytes) -> asyncio.Future[int]:
        self._answered = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.used = time.perf_counter()
        self._answered.set_result(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed without an answer"))


class Bare:
    """Confirmed publishing, and nothing else: the body that the function would publish."""

    def __init__(self, url: str, queue: str, different: int) -> None:
        self._url, self._queue = url, queue
        self._bodies = [
            Delivery("github", "octo-org/hello.world", "pull_request", "", "", "", text.decode()).to_bytes()
            for _, text in (delivery(number) for number in range(different))
        ]
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._sent = 0
        self._channel: Any = None

    async def open(self, _connections: int) -> None:
        """One connection."""
        ready = asyncio.get_running_loop().create_future()

        def on_channel(channel: Any) -> None:
            self._channel = channel
            channel.confirm_delivery(self._on_settled, callback=lambda _: ready.set_result(None))

        AsyncioConnection(
            pika.URLParameters(self._url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
            custom_ioloop=asyncio.get_running_loop(),
        )
        await ready

    async def send(self, number: int) -> str:
        """What the broker said of it."""
        properties = pika.BasicProperties(delivery_mode=2)
        body = self._bodies[number % len(self._bodies)]
        self._channel.basic_publish("", self._queue, body, properties, mandatory=True)
        self._sent += 1
        self._waiting[self._sent] = confirmed = asyncio.get_running_loop().create_future()
        return await confirmed

    def _on_settled(self, frame: Method) -> None:
        tag = int(frame.method.delivery_tag)
        for each in [each for each in self._waiting if each <= tag] if frame.method.multiple else [tag]:
            self._waiting.pop(each).set_result(str(frame.method.NAME))


async def carry_out(order: Order) -> Outcome:
    """Send all and wait for all."""
    way: Way = Bare(order.url, order.queue, order.different) if order.queue else Http(order)
    await way.open(order.connections)
    answers: Counter[str] = Counter()
    latencies: list[float] = []
    late: list[float] = []

    async def one(number: int, due: float) -> None:
        late.append(time.perf_counter() - due)
        answers[await way.send(number)] += 1
        latencies.append(time.perf_counter() - due)

    begin, used = time.perf_counter(), time.process_time()
    if order.rate:
        async with asyncio.TaskGroup() as group:
            for number, due in enumerate(_times(begin, order)):
                if (pause := due - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                group.create_task(one(number, due))
    else:
        numbers = iter(range(order.count))

        async def several() -> None:
            for number in numbers:
                await one(number, time.perf_counter())

        async with asyncio.TaskGroup() as group:
            for _ in range(order.under_way):
                group.create_task(several())
    seconds, cpu = time.perf_counter() - begin, time.process_time() - used
    return Outcome(latencies, dict(answers), seconds, cpu, sorted(late)[int(len(late) * 0.99)])


def _times(begin: float, order: Order) -> Iterator[float]:
    chance, due = random.Random(4), begin
    for _ in range(order.count):
        due += chance.expovariate(order.rate)
        yield due


def main() -> None:
    """Read an order, carry it out, tell."""
    order = Order(**json.load(sys.stdin))
    print(json.dumps(asdict(uvloop.run(carry_out(order)))))


if __name__ == "__main__":
    main()
