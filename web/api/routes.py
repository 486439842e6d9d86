# SPDX-License-Identifier: AGPL-3.0-or-later
"""GET /api/v1/requests, one of them, and the document."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from pydantic import BaseModel
from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from testyard import fields
from testyard.errors import MissingError, RequestError, TestyardError
from testyard.index import RequestRow, RequestState, index_errors
from testyard.index.engine import index_engine
from testyard.index.read import Place, Sought, find_request, find_requests, place_of
from testyard.intake.engine import intake_engine, intake_url
from testyard.openapi.document import FILTERS, MOST_LISTED, USUALLY_LISTED, openapi_json
from testyard.openapi.models import Listing
from testyard.problem import MEDIA_TYPE, problem_of
from testyard.settings import Settings
from web.addresses import Addresses
from web.api.reader import Reader, as_request, connected, who_reads
from web.api.status import status_of
from web.secrets import hidden_request
from web.site import Site

_PLACE = re.compile(r"([0-9]{1,12}\.[0-9]{1,20})_([0-9a-f-]{36})")
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Question:
    """A call, with what answers it."""

    request: Request
    index: Connection
    reader: Reader
    places: Addresses
    settings: Settings


@dataclass(frozen=True)
class Memory:
    """The intake's tables: for reading, and where the use of a token is noted."""

    reader: Engine
    writer: Engine

    @classmethod
    def of(cls, settings: Settings) -> Memory:
        """Not reached for yet. Raises SettingsError."""
        return cls(index_engine(intake_url(settings)), intake_engine(settings))

    def close(self) -> None:
        """Close the connections."""
        self.reader.dispose()
        self.writer.dispose()


def api_routes(settings: Settings, memory: Memory) -> list[BaseRoute]:
    """The routes."""

    def route(path: str, answer: Callable[[Question], BaseModel]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                return await run_in_threadpool(_answered, request, settings, memory, answer)
            except TestyardError as error:
                problem = problem_of(error)
                body = problem.to_json(request.scope["path"])
                return JSONResponse(
                    body, problem.status, {**_NO_STORE, **problem.headers}, media_type=MEDIA_TYPE
                )

        return Route(path, endpoint)

    async def document(_request: Request) -> Response:
        intake = settings.intake.url or settings.site.url
        return JSONResponse(openapi_json(site=settings.site.url, intake=intake))

    return [
        Route("/api/v1/openapi.json", document),
        route("/api/v1/requests", _listing),
        route("/api/v1/requests/{request_id}", _one),
    ]


def _answered(
    request: Request, settings: Settings, memory: Memory, answer: Callable[[Question], BaseModel]
) -> Response:
    site: Site = request.app.state.site
    url = settings.intake.url or settings.site.url
    with index_errors(), ExitStack() as stack:
        who = who_reads(request, memory.reader, memory.writer, secure=url.startswith("https://"))
        index = stack.enter_context(site.engine.connect())
        ours = connected(memory.reader)
        if ours is not None:
            stack.enter_context(ours)
        found = answer(Question(request, index, Reader(who, ours), site.places, settings))
    return JSONResponse(found.model_dump(mode="json", by_alias=True), headers=_NO_STORE)


def _one(question: Question) -> BaseModel:
    try:
        request_id = fields.request_id("id", question.request.path_params["request_id"]) or ""
    except RequestError as error:
        raise MissingError("A request's id is a UUID.") from error
    row = find_request(question.index, request_id)
    if row is None:
        asked = question.reader.asked(request_id)
        if asked is None:
            raise MissingError("No request has this id.")
        row = as_request(asked)
    row, seen = _seen(question, row)
    return status_of(row, question.places, may_see=seen, index=question.index)


def _seen(question: Question, row: RequestRow) -> tuple[RequestRow, bool]:
    """The request, and whether whoever asks may see what it is; if it is private, as it was asked for."""
    if not hidden_request(row):
        return row, True
    if not question.reader.may_see(row.request_id):
        return row, False
    asked = question.reader.asked(row.request_id)
    if asked is None:
        return row, True
    whole = as_request(asked)
    return replace(row, package=whole.package, parameters=whole.parameters), True


def _listing(question: Question) -> BaseModel:
    sought, limit = _sought(question), _limit(question)
    found = [*question.reader.unseen(question.index, sought)]
    found += find_requests(question.index, sought, limit=limit + 1)
    newest = sorted(found, key=lambda row: (place_of(row).time, row.request_id), reverse=True)
    page = newest[:limit]
    shown = tuple(
        status_of(row, question.places, may_see=seen)
        for row, seen in (_seen(question, row) for row in page)
        if seen or not sought.public
    )
    following = _next(question, place_of(page[-1])) if len(newest) > limit else None
    return Listing(requests=shown, next=following)


def _sought(question: Question) -> Sought:
    given = question.request.query_params
    for name in given:
        if name not in (*FILTERS, "before", "limit"):
            known = ", ".join((*FILTERS, "before", "limit"))
            raise RequestError(name[:80] or "?", f"there is no such parameter; known: {known}")
        if len(given.getlist(name)) > 1:
            raise RequestError(name, "may be given once")
        if not fields.line(name, given[name]) or len(given[name]) > 200:
            raise RequestError(name, "must be 1 to 200 characters on one line")
    state = given.get("state", "")
    if state and state not in tuple(RequestState):
        raise RequestError("state", f"must be one of {', '.join(RequestState)}")
    return Sought(
        package=given.get("package", ""),
        queues=_queues(question.settings, given.get("release"), given.get("arch")),
        state=state,
        requester=given.get("requester", ""),
        before=_place(given.get("before")),
        # whoever looks for a name must not find out by it what a private request is
        public=("package" in given or "requester" in given) and not question.reader.sees_all,
    )


def _queues(settings: Settings, release: str | None, architecture: str | None) -> tuple[str, ...]:
    if release is None and architecture is None:
        return ()
    matching = tuple(
        str(queue)
        for queue in settings.topology.queues()
        if release in (None, queue.release) and architecture in (None, queue.architecture)
    )
    return matching or ("none",)


def _limit(question: Question) -> int:
    text = question.request.query_params.get("limit", str(USUALLY_LISTED))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST_LISTED):
        raise RequestError("limit", f"must be a number from 1 to {MOST_LISTED}")
    return int(text)


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise RequestError("before", "must be as it stands in the `next` of the page before")
    return Place(float(found[1]), found[2])


def _next(question: Question, place: Place) -> str:
    given = {key: value for key, value in question.request.query_params.items() if key != "before"}
    given["before"] = f"{place.time!r}_{place.request_id}"
    return question.places.page(f"/api/v1/requests?{urlencode(given)}")
