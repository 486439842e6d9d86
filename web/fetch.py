# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run's log, read from the store's public address."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

import httpx

#: No more of a log is unpacked and shown; a reader of more takes the raw log.
MAX_SHOWN = 8 * 1024 * 1024

#: Seconds for the whole log: the page must come even if the store drips.
PATIENCE = 15.0

TIMEOUT = httpx.Timeout(5.0, connect=3.0)

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class LogText:
    """What came: ``problem`` says in a sentence why ``text`` is empty; ``cut`` if more was there."""

    text: str = ""
    cut: bool = False
    problem: str = ""


async def fetch_log(client: httpx.AsyncClient, url: str, *, limit: int = MAX_SHOWN) -> LogText:
    """Read and unpack at most ``limit`` bytes of a log. Never raises for what the store does."""
    if not url.startswith(("http://", "https://")):
        return LogText(problem="No log can be shown: this site knows no public address of the store.")
    try:
        async with asyncio.timeout(PATIENCE), client.stream("GET", url) as response:
            if response.status_code != httpx.codes.OK:
                return LogText(problem=_refusal(response.status_code))
            return await _unpacked(response, limit)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        return LogText(
            problem="The store cannot be reached at the moment; the log will show when it is back."
        )
    except zlib.error:
        return LogText(problem="The log in the store cannot be unpacked.")


def _refusal(status: int) -> str:
    if status == httpx.codes.NOT_FOUND:
        return "The store holds no log of this run."
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return "The store does not let the public read this log, or no longer has it."
    return f"The store answered with status {status} in place of the log."


async def _unpacked(response: httpx.Response, limit: int) -> LogText:
    # the raw bytes are gzip whether or not the store says Content-Encoding: a proxy may have
    # unpacked them, so the first bytes decide
    unpacker = _Unpacker(limit)
    async for chunk in response.aiter_raw():
        unpacker.take(chunk)
        if unpacker.full:
            break
    data = bytes(unpacker.data[:limit])
    text = data.decode("utf-8", errors="replace")
    if not unpacker.full:
        return LogText(text)
    return LogText(text.rpartition("\n")[0] or text, cut=True)


class _Unpacker:
    """gunzip that stops one byte beyond the limit, however small the packed bytes are."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inflate: zlib._Decompress | None = None
        self._plain = False
        self.data = bytearray()

    @property
    def full(self) -> bool:
        """True if there is more than may be shown."""
        return len(self.data) > self._limit

    def take(self, chunk: bytes) -> None:
        if not self.data and self._inflate is None and not self._plain:
            self._plain = not chunk.startswith(_GZIP_MAGIC[: len(chunk)])
        if self._plain:
            self.data += chunk[: self._limit + 1 - len(self.data)]
        while chunk and not self._plain and not self.full:
            chunk = self._member(chunk)

    def _member(self, chunk: bytes) -> bytes:
        """Unpack up to the end of one gzip member; what follows it is given back."""
        if self._inflate is None:
            self._inflate = zlib.decompressobj(wbits=31)
        self.data += self._inflate.decompress(chunk, self._limit + 1 - len(self.data))
        if not self._inflate.eof:
            return b""
        rest = self._inflate.unused_data
        self._inflate = None
        return rest.lstrip(b"\0")  # gzip files may be padded with zeros
