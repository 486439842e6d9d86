# SPDX-License-Identifier: AGPL-3.0-or-later
"""A call's body, read within limits of size, time and what all calls together may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from testyard.errors import TestyardError
from testyard.problem import Problem, away

#: Seconds in which a body must be here.
SECONDS = 30.0
#: Calls that are worked on at a time, and bytes of bodies that are here or on their way.
_MOST = 128
_MOST_HELD = 128 * 1024 * 1024


class BodyError(TestyardError):
    """A body that is not taken; ``problem`` is the answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@asynccontextmanager
async def received(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body, of ``most`` bytes, while its call is worked on. Raises BodyError.

    A call counts only when its body is here: connections that send nothing keep nobody out.
    """
    state = request.app.state
    body = bytearray()
    try:
        await _read(request, most, body)
        if state.calls >= _MOST:
            raise _busy()
        state.calls += 1
        try:
            yield bytes(body)
        finally:
            state.calls -= 1
    finally:
        state.held -= len(body)


async def _read(request: Request, most: int, body: bytearray) -> None:
    told = request.headers.get("Content-Length", "0")
    if told.isascii() and told.isdigit() and int(told[:20]) > most:
        raise _too_large(most)
    state = request.app.state
    try:
        async with asyncio.timeout(SECONDS):
            async for piece in request.stream():
                if len(body) + len(piece) > most:
                    raise _too_large(most)
                if state.held + len(piece) > _MOST_HELD:
                    raise _busy()
                body += piece
                state.held += len(piece)
    except TimeoutError as error:
        text = f"The body was not here within {SECONDS:g} s."
        raise BodyError(Problem(408, "slow", text, headers={"Connection": "close"})) from error


def _too_large(most: int) -> BodyError:
    text = f"A call's body may have {most} bytes. Send several calls."
    return BodyError(Problem(413, "too-large", text, headers={"Connection": "close"}))


def _busy() -> BodyError:
    return BodyError(away("Too many calls at once. Nothing was accepted; try again."))
