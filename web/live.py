# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request's log while it runs: as server-sent events, as JSON for those who poll, as plain text.

A reader names its place, the attempt and the byte up to which it has read, and gets all that follows, once.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from testyard import fields
from testyard.errors import RequestError
from testyard.index import livelog, read
from testyard.livelog import LogPiece, left_out_line
from web.livelog import Feed, LogHub, Told, sse
from web.pages.page import LIVE, NotFoundError
from web.secrets import hidden_request, public_runs
from web.site import Site

#: Seconds of silence on a stream, after which a sign of life is sent; and of patience at most in one answer.
_BEAT = 10.0
_LONGEST_WAIT = 20.0
#: A browser whose stream broke comes again after so many milliseconds.
_RETRY = b"retry: 1000\n\n"
_FULL = "Too many follow logs at the moment. Try again soon, or ask for log.json."
_EVENTS = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Place:
    """Up to where a reader has read. Attempt 0 is the present one."""

    attempt: int = 0
    offset: int = 0

    @classmethod
    def of(cls, request: Request) -> Place:
        """From ``Last-Event-ID``, or else from ``attempt`` and ``offset`` in the address."""
        words = request.headers.get("Last-Event-ID", "").split(":")
        if len(words) == 2 and all(word.isascii() and word.isdigit() and len(word) < 11 for word in words):
            return cls(int(words[0]), int(words[1]))
        return cls(_number(request, "attempt"), _number(request, "offset"))

    def within(self, feed: Feed) -> Place:
        """The same, or the beginning if another attempt has begun."""
        return self if self.attempt in (0, feed.attempt) else Place(feed.attempt)


def live_routes() -> list[BaseRoute]:
    """The addresses of running logs."""
    return [
        Route("/requests/{request_id}/log.events", _events),
        Route("/requests/{request_id}/log.json", _json),
        Route("/requests/{request_id}/log", _text),
    ]


async def _events(request: Request) -> Response:
    site, request_id, place = _site(request), _request_id(request), Place.of(request)
    async with site.logs.reading(request_id) as feed:
        if feed is None:
            raise _unknown()
    if request.method == "HEAD":
        return Response(media_type=_EVENTS)
    if not site.logs.enter():
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, _FULL, {"Retry-After": "5"})
    # proxies that collect an answer before they pass it on are told not to
    headers = {"Cache-Control": LIVE, "X-Accel-Buffering": "no"}
    return _Stream(site.logs, _stream(site.logs, request_id, place), headers)


class _Stream(StreamingResponse):
    """An answer that has a place among the hub's streams, and gives it back however it ends."""

    def __init__(self, hub: LogHub, content: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(content, media_type=_EVENTS, headers=headers)
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave()


async def _stream(hub: LogHub, request_id: str, place: Place) -> AsyncIterator[bytes]:
    async with hub.reading(request_id) as feed:
        if feed is None:
            return
        yield _RETRY
        shown, offset, attempt = "", place.within(feed).offset, feed.attempt
        while True:
            version, over = feed.version, feed.over
            if attempt != feed.attempt:
                attempt, offset = feed.attempt, 0
            if shown != feed.view:
                shown = feed.view
                yield sse("state", shown)
            pieces = await _pieces(hub, feed, offset)
            if pieces and attempt == feed.attempt:
                offset = pieces[-1].end
                yield b"".join(piece.event for piece in pieces)
            elif over and not pieces:
                yield sse("end", shown)
                return
            elif feed.version == version:
                await feed.changed(version, 1.0 if feed.ended or offset < feed.start else _BEAT)
                if feed.version == version:
                    yield sse("beat", "{}")


async def _pieces(hub: LogHub, feed: Feed, offset: int) -> list[Told]:
    try:
        return list(await hub.after(feed, offset))
    except SQLAlchemyError:
        return []  # the index is away: the reader waits


async def _json(request: Request) -> Response:
    site, request_id, place = _site(request), _request_id(request), Place.of(request)
    deadline = time.monotonic() + min(_number(request, "wait"), _LONGEST_WAIT)
    state = request.query_params.get("state")
    async with site.logs.reading(request_id) as feed:
        if feed is None:
            raise _unknown()
        while True:
            version, over, attempt = feed.version, feed.over, feed.attempt
            offset = place.within(feed).offset
            pieces = await _pieces(site.logs, feed, offset)
            left = deadline - time.monotonic()
            if attempt == feed.attempt and (
                pieces or over or left <= 0 or (state is not None and state != feed.state)
            ):
                break
            await feed.changed(version, min(max(left, 0), 1.0))
        body = _answer(feed, pieces, pieces[-1].end if pieces else offset, over=over and not pieces)
    return Response(body, media_type="application/json", headers={"Cache-Control": LIVE})


def _answer(feed: Feed, pieces: list[Told], offset: int, *, over: bool) -> str:
    # put together from what was made once for all readers
    facts = json.dumps({"attempt": feed.attempt, "offset": offset, "over": over})
    told = ", ".join(piece.json for piece in pieces)
    return f'{{"request": {feed.view}, {facts[1:-1]}, "pieces": [{told}]}}'


async def _text(request: Request) -> Response:
    site, request_id = _site(request), _request_id(request)
    offset = _number(request, "offset")
    found = await run_in_threadpool(_whole_log, site, request_id)
    if isinstance(found, str):
        return RedirectResponse(found, HTTPStatus.SEE_OTHER, {"Cache-Control": LIVE})
    text = _so_far(site, request_id, found, offset)
    return StreamingResponse(text, media_type="text/plain", headers={"Cache-Control": LIVE})


def _whole_log(site: Site, request_id: str) -> str | int:
    """The address of the stored log, or of a log that is not stored yet the attempt. Raises NotFoundError."""
    with site.engine.connect() as connection:
        row = read.find_request(connection, request_id)
        if row is None or hidden_request(row):
            raise _unknown()
        runs = public_runs(read.find_runs(connection, row.path)) if row.path else ()
        if runs:
            return site.places.files(runs[0]).log
        if not livelog.after(connection, request_id, row.attempt, 0, limit=1):
            raise NotFoundError("There is no log (yet).")
        return row.attempt


async def _so_far(site: Site, request_id: str, attempt: int, offset: int) -> AsyncIterator[str]:
    def page(start: int) -> tuple[LogPiece, ...]:
        with site.engine.connect() as connection:
            return livelog.after(connection, request_id, attempt, start)

    while pieces := await run_in_threadpool(page, offset):
        yield "".join(left_out_line(piece.left_out) if piece.left_out else piece.text for piece in pieces)
        offset = pieces[-1].end
        if pieces[-1].complete:
            return


def _site(request: Request) -> Site:
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


def _request_id(request: Request) -> str:
    try:
        return fields.request_id("id", request.path_params["request_id"]) or ""
    except RequestError as error:
        raise NotFoundError("A request's id is a UUID.") from error


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: must be a whole number of 0 or more.")
    return int(text)


def _unknown() -> NotFoundError:
    return NotFoundError("No request has this id. One just sent is known within seconds.")
