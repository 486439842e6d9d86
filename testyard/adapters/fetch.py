# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small files from addresses that an operator's settings name."""

from __future__ import annotations

import asyncio

import httpx

from testyard.errors import TestbedError, words_of

#: Seconds for one answer as a whole, and its bytes at most. A key with many signatures has 100 kB.
SECONDS = 20.0
MOST_BYTES = 1024 * 1024


def fetch(url: str, *, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> bytes | None:
    """What is at an http(s) address; None if nothing is (404, 410). No redirection is followed.

    Raises TestbedError if the server cannot be reached, refuses, or sends too much or too slowly.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_fetched(url, seconds, most_bytes))
    except TimeoutError as error:
        raise TestbedError(f"{url}: took longer than {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TestbedError(f"{url}: {words_of(error)}") from error
    finally:
        # not asyncio.run: that would wait for a name server as long as its thread does
        loop.close()


async def _fetched(url: str, seconds: float, most_bytes: int) -> bytes | None:
    # httpx's own limits are for each step: a server that drips keeps within them for ever
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(timeout=seconds + 1, follow_redirects=False) as client,
        client.stream("GET", url) as answer,
    ):
        if answer.status_code in (404, 410):
            return None
        if answer.status_code != 200:
            raise TestbedError(f"{url}: status {answer.status_code}")
        data = b""
        async for piece in answer.aiter_bytes():
            data += piece
            if len(data) > most_bytes:
                raise TestbedError(f"{url}: more than {most_bytes} bytes")
    return data
