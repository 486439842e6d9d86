# SPDX-License-Identifier: AGPL-3.0-or-later
"""Running logs for any number of readers: the index is asked once for all of them.

Nothing here is the only copy of anything: readers say how far they have read when they come again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from testyard.index import RequestRow, RequestState, livelog, read
from testyard.livelog import LogPiece, left_out_line

#: Seconds between two looks into the index while somebody reads, and after one that failed.
_INTERVAL, _PAUSE = 0.25, 1.0
#: Seconds for which a log is looked at after its last reader went: those who poll come again.
_KEPT = 15.0
#: Bytes of a log that are kept at hand, of what one look brings, and of one page for who comes late.
_RECENT, _LOOK, _PAGE = 512 * 1024, 1024 * 1024, 256 * 1024
#: Pages that are kept: many who come late read the same.
_MOST_PAGES = 64
#: Requests that one question to the index asks for; streams that are open at the same time, each of
#: which is a connection, a task and some kB.
_SLICE, MOST_STREAMS = 1000, 2000
#: Seconds that a request has ended until its log counts as whole, if nobody said so.
_PATIENCE = 6.0

_ENDED = (RequestState.DONE, RequestState.REJECTED, RequestState.CANCELLED)


@dataclass(frozen=True)
class Told:
    """A piece as readers get it: made once for all."""

    start: int
    end: int
    json: str
    event: bytes

    @classmethod
    def of(cls, piece: LogPiece, attempt: int) -> Told:
        """The piece of an attempt's log; one that was left out says so in a line."""
        text = left_out_line(piece.left_out) if piece.left_out else piece.text
        value = {"start": piece.start, "end": piece.end, "left_out": piece.left_out, "text": text}
        body = json.dumps({"attempt": attempt, **value}, ensure_ascii=False)
        return cls(piece.start, piece.end, body, sse("log", body, f"{attempt}:{piece.end}"))


def sse(name: str, data: str, event_id: str = "") -> bytes:
    """A server-sent event; ``data`` has no line end."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n".encode()


class Feed:
    """One request and its log, while somebody reads it."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.readers = 0
        self.used = time.monotonic()
        self.state = RequestState.QUEUED
        self.view = "{}"
        self.hidden = True
        self.attempt = 0
        self.version = 0
        self.start = self.end = 0  # what is at hand
        self._recent: deque[Told] = deque()
        self._row: RequestRow | None = None
        self._complete = False
        self._changed = asyncio.Event()

    def known(self) -> bool:
        """True if the index knows the request."""
        return self._row is not None

    @property
    def ended(self) -> bool:
        """True if the request has ended; the last of its log may be on its way."""
        return self.known() and self.state in _ENDED

    @property
    def over(self) -> bool:
        """True if nothing will follow what is at hand."""
        row = self._row
        return row is not None and self.ended and (self._complete or time.time() - row.updated > _PATIENCE)

    def asks(self) -> Asked:
        """What has to be looked for."""
        row = self._row
        if row is None:
            return Asked(self.request_id, None, None, 0, look=True)
        look = self.end < row.log_end or (self.ended and not self.over)
        return Asked(self.request_id, read.mark_of(row), self.attempt, self.end, look)

    def take(self, news: News) -> None:
        """Enter what a look brought, and wake the readers."""
        if news.row is not None:
            first = self._row is None
            self._row, self.state = news.row, news.row.state
            self.view, self.hidden = news.view, news.hidden
            if first or news.row.attempt != self.attempt:
                self.attempt, self._complete = news.row.attempt, False
                self._recent.clear()
                self.start = self.end = news.start
        told = [piece for piece in news.pieces if not piece.complete]
        self._complete = self._complete or len(told) < len(news.pieces)
        self._recent.extend(Told.of(piece, self.attempt) for piece in told)
        if told:
            self.end = told[-1].end
            self._shorten()
        if news.row is not None or news.pieces:
            self.version += 1
            self._changed.set()
            self._changed = asyncio.Event()

    def _shorten(self) -> None:
        while self.end - self.start > _RECENT and len(self._recent) > 1:
            self.start = self._recent.popleft().end

    async def changed(self, version: int, seconds: float) -> None:
        """Wait until there is something newer than ``version``, so long at most."""
        if self.version == version:
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except TimeoutError:
                return

    def recent(self, offset: int) -> list[Told]:
        """What is at hand beyond ``offset``, which is `start` or more."""
        found: list[Told] = []
        for told in reversed(self._recent):
            if told.end <= offset:
                break
            found.append(told)
        return found[::-1]


@dataclass(frozen=True)
class Asked:
    """What one feed has, so that a look brings only what is new. ``mark`` is None at first."""

    request_id: str
    mark: read.Mark | None
    attempt: int | None
    end: int
    look: bool


@dataclass(frozen=True)
class News:
    """What a look brought: the request if it has changed, and its log's next pieces from ``start`` on.

    Of a ``hidden`` one nobody may read the log.
    """

    row: RequestRow | None
    view: str
    start: int
    pieces: tuple[LogPiece, ...]
    hidden: bool


class LogHub:
    """All feeds. ``view`` makes what readers see of a request; of a ``hidden`` one they see no log."""

    def __init__(
        self,
        engine: Engine,
        view: Callable[[RequestRow], Mapping[str, Any]],
        hidden: Callable[[RequestRow], bool],
    ) -> None:
        self._engine = engine
        self._view = view
        self._hidden = hidden
        self._feeds: dict[str, Feed] = {}
        self._opening: dict[str, asyncio.Task[Feed]] = {}
        self._pages: OrderedDict[tuple[str, int, int], asyncio.Task[tuple[Told, ...]]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._streams = 0

    def enter(self) -> bool:
        """Take a place for a stream; False if all are taken."""
        if self._streams >= MOST_STREAMS:
            return False
        self._streams += 1
        return True

    def leave(self) -> None:
        """Give the place back."""
        self._streams -= 1

    @asynccontextmanager
    async def reading(self, request_id: str) -> AsyncIterator[Feed | None]:
        """The request's feed while it is read; None if nobody knows the request. Raises SQLAlchemyError."""
        feed = self._feeds.get(request_id) or await self._opened(request_id)
        if not feed.known():
            yield None
            return
        feed.readers += 1
        self._ensure()
        try:
            yield feed
        finally:
            feed.readers -= 1
            feed.used = time.monotonic()

    async def after(self, feed: Feed, offset: int) -> Iterable[Told]:
        """The log's next pieces from byte ``offset`` on; none if there are none yet."""
        self._ensure()
        if feed.hidden:
            return ()
        if offset >= feed.start:
            return feed.recent(offset)
        key = (feed.request_id, feed.attempt, offset)
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = asyncio.create_task(self._page(*key))
        try:
            found = await asyncio.shield(page)
        except SQLAlchemyError:
            self._pages.pop(key, None)
            raise
        if not found or found[-1].end - offset < _PAGE:
            self._pages.pop(key, None)  # it may grow
        while len(self._pages) > _MOST_PAGES:
            self._pages.popitem(last=False)
        return found

    async def _opened(self, request_id: str) -> Feed:
        """A new feed, or the one that somebody else is opening just now."""
        task = self._opening.get(request_id)
        if task is None:
            task = self._opening[request_id] = asyncio.create_task(self._open(request_id))
        return await asyncio.shield(task)

    async def _open(self, request_id: str) -> Feed:
        feed = Feed(request_id)
        try:
            await self._look([feed])
        finally:
            del self._opening[request_id]
        if feed.known():
            self._feeds[request_id] = feed
        return feed

    def _ensure(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._loop())

    async def close(self) -> None:
        """End the looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _page(self, request_id: str, attempt: int, offset: int) -> tuple[Told, ...]:
        return await run_in_threadpool(self._read_page, request_id, attempt, offset)

    def _read_page(self, request_id: str, attempt: int, offset: int) -> tuple[Told, ...]:
        with self._engine.connect() as connection:
            pieces = livelog.after(connection, request_id, attempt, offset, limit=_PAGE)
        return tuple(Told.of(piece, attempt) for piece in pieces if not piece.complete)

    async def _loop(self) -> None:
        while True:
            now = time.monotonic()
            kept = {
                name: feed for name, feed in self._feeds.items() if feed.readers or now - feed.used < _KEPT
            }
            self._feeds = kept
            if not kept:
                return
            try:
                await self._look(list(kept.values()))
                await asyncio.sleep(_INTERVAL)
            except SQLAlchemyError:
                await asyncio.sleep(_PAUSE)

    async def _look(self, feeds: list[Feed]) -> None:
        asked = [feed.asks() for feed in feeds]
        found = await run_in_threadpool(self._news, asked)
        for feed, one in zip(feeds, asked, strict=True):
            if one.request_id in found and feed.asks() == one:
                feed.take(found[one.request_id])

    def _news(self, asked: list[Asked]) -> dict[str, News]:
        with self._engine.connect() as connection:
            names = [one.request_id for one in asked]
            marks: dict[str, read.Mark] = {}
            for start in range(0, len(names), _SLICE):
                marks |= read.request_marks(connection, names[start : start + _SLICE])
            found = {}
            for one in asked:
                mark = marks.get(one.request_id)
                if mark is None or (mark == one.mark and not one.look):
                    continue
                row = read.find_request(connection, one.request_id)
                if row is None:
                    continue
                same = row.attempt == one.attempt
                # of a log that is read for the first time what comes next; the rest is for pages
                start = one.end if same else 0 if one.mark else row.log_end
                hidden = self._hidden(row)
                place = (row.request_id, row.attempt, start)
                pieces = () if hidden else livelog.after(connection, *place, limit=_LOOK)
                changed = mark != one.mark
                view = json.dumps({**self._view(row), "now": time.time()}) if changed else ""
                found[one.request_id] = News(row if changed else None, view, start, pieces, hidden)
            return found
