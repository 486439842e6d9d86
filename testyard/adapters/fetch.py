# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small files, and answers, from addresses that an operator's settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from testyard.adapters.outside import Answer
from testyard.errors import OutsideError, TestbedError, words_of

#: Seconds for one answer as a whole, and its bytes at most. A key with many signatures has 100 kB.
SECONDS = 20.0
MOST_BYTES = 1024 * 1024


def fetch(url: str, *, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> bytes | None:
    """What is at an http(s) address; None if nothing is (404, 410). No redirection is followed.

    Raises TestbedError if the server cannot be reached, refuses, or sends too much or too slowly.
    """
    try:
        answer = ask(url, seconds=seconds, most_bytes=most_bytes)
    except OutsideError as error:
        raise TestbedError(error.brief) from error
    if answer.status in (404, 410):
        return None
    if answer.status != 200:
        raise TestbedError(f"{url}: status {answer.status}")
    return answer.body


def ask(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    login: tuple[str, str] | None = None,
    packed: bool = False,
    seconds: float = SECONDS,
    most_bytes: int = MOST_BYTES,
) -> Answer:
    """What a server answers, whatever its status; the body only with status 200. No redirection is followed.

    ``login`` is a user and a password; ``packed`` asks for a file as it lies there, never unpacked on the
    way. Raises OutsideError if it cannot be reached, or sends too much or
    too slowly.
    """
    loop = asyncio.new_event_loop()
    try:
        sent = {**(headers or {}), **({"Accept-Encoding": "identity"} if packed else {})}
        return loop.run_until_complete(
            _asked(url, sent, login, packed=packed, seconds=seconds, most_bytes=most_bytes)
        )
    except TimeoutError as error:
        raise OutsideError(f"{url}: took longer than {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OutsideError(f"{url}: {words_of(error)}") from error
    finally:
        # not asyncio.run: that would wait for a name server as long as its thread does
        loop.close()


async def _asked(
    url: str,
    headers: Mapping[str, str],
    login: tuple[str, str] | None,
    *,
    packed: bool,
    seconds: float,
    most_bytes: int,
) -> Answer:
    # httpx's own limits are for each step: a server that drips keeps within them for ever
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(timeout=seconds + 1, follow_redirects=False, auth=login) as client,
        client.stream("GET", url, headers=dict(headers)) as answer,
    ):
        data = bytearray()
        if answer.status_code == 200:
            async for piece in answer.aiter_raw() if packed else answer.aiter_bytes():
                data += piece
                if len(data) > most_bytes:
                    raise OutsideError(f"{url}: more than {most_bytes} bytes")
        return Answer(answer.status_code, answer.headers, bytes(data), url)
