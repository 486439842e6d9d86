# SPDX-License-Identifier: AGPL-3.0-or-later
"""The little of HTTP that this function needs, over bare ASGI: a framework takes 60 ms of its start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ReplyError(Exception):
    """An answer that is no success. ``retry_after`` is in seconds; 0: asking again does not help."""

    def __init__(self, status: int, title: str, detail: str, *, retry_after: int = 0) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.retry_after = status, title, detail, retry_after

    def content(self) -> dict[str, Any]:
        """Problem details (RFC 9457)."""
        return {"title": self.title, "status": self.status, "detail": self.detail}


class GoneError(Exception):
    """Who asked went away in the middle."""


class Room:
    """Bytes of bodies that may be in memory at once."""

    def __init__(self, most: int) -> None:
        self.left = most


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by name in small letters; of several the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(receive: Receive, headers: Mapping[str, str], room: Room, *, most: int) -> bytes:
    """The body. Takes its size from ``room``; the caller gives it back.

    Raises ReplyError if it is too large or there is no room, and GoneError.
    """
    said = headers.get("content-length", "0")
    if said.isdecimal() and int(said) > most:
        raise _too_large(most)
    pieces: list[bytes] = []
    size, more = 0, True
    try:
        while more:
            piece, more = await _piece(receive)
            size += len(piece)
            room.left -= len(piece)
            _check(size, most, room)
            pieces.append(piece)
    except BaseException:
        room.left += size
        raise
    return b"".join(pieces)


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise GoneError
    return message.get("body", b""), message.get("more_body", False)


def _check(size: int, most: int, room: Room) -> None:
    if size > most:
        raise _too_large(most)
    if room.left < 0:
        raise ReplyError(503, "Busy", "Too much comes at once.", retry_after=5)


async def answer(
    send: Send, status: int, content: Mapping[str, Any], *, problem: bool = False, retry_after: int = 0
) -> None:
    """Send a JSON object."""
    body = json.dumps(content).encode()
    kind = b"application/problem+json" if problem else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if retry_after:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve_lifespan(
    receive: Receive, send: Send, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]
) -> None:
    """ASGI's start and end of the whole app."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await start()
            await send({"type": "lifespan.startup.complete"})
        else:
            await stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _too_large(most: int) -> ReplyError:
    return ReplyError(413, "Too large", f"A delivery may have {most} bytes at most.")


async def within(seconds: float, work: Awaitable[bytes]) -> bytes:
    """Wait for a body. Raises ReplyError after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise ReplyError(408, "Too slow", f"The body did not come within {seconds:g} s.") from None
