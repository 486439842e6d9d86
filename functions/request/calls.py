# SPDX-License-Identifier: AGPL-3.0-or-later
"""One call of the API: its body read within limits, its answer JSON, its errors problem details."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from functions.request.bodies import BodyError, received
from functions.request.who import Caller, address_of, caller, memory_of, reader_of, settings_of
from testyard.errors import ForbiddenError, TestyardError
from testyard.intake.answers import KeyReusedError
from testyard.intake.gate import Gate
from testyard.intake.identity import Identity
from testyard.intake.sender import Sender
from testyard.intake.submit import Door
from testyard.jsonobject import parse_value
from testyard.openapi.models import LARGEST_BODY
from testyard.ports import Store
from testyard.problem import MEDIA_TYPE, Problem, problem_of
from testyard.settings import Settings

log = logging.getLogger(__name__)

_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_BUG = Problem(500, "bug", "An error of ours. It was logged.")
_WORDS = {
    404: "There is no such address.",
    405: "This address does not take this method.",
}


class ProblemError(Exception):
    """An answer that no error of ours stands for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True)
class Call:
    """One call, in a thread. ``body`` was read whole."""

    request: Request
    body: bytes

    @property
    def caller(self) -> Caller:
        """Who asks. Raises ForbiddenError if a token was sent that opens nothing."""
        return caller(self.request)

    @property
    def who(self) -> Identity:
        """Who asks."""
        return self.caller.who

    @property
    def address(self) -> str:
        """Where the call came from."""
        return address_of(self.request)

    @property
    def settings(self) -> Settings:
        """The app's settings."""
        return settings_of(self.request)

    @property
    def memory(self) -> Engine:
        """The intake's tables."""
        return memory_of(self.request)

    @property
    def reader(self) -> Engine:
        """The same tables, for reading."""
        return reader_of(self.request)

    @property
    def index(self) -> Engine:
        """The index, for reading."""
        index = self.request.app.state.index
        assert isinstance(index, Engine)
        return index

    @property
    def store(self) -> Store:
        """The object store."""
        store: Store = self.request.app.state.store
        return store

    @property
    def sender(self) -> Sender:
        """The way to the broker."""
        sender: Sender = self.request.app.state.sender
        return sender

    @property
    def gate(self) -> Gate:
        """What is asked before a request may come in."""
        gate = self.request.app.state.gate
        assert isinstance(gate, Gate)
        return gate

    @property
    def door(self) -> Door:
        """Where requests come in."""
        door = self.request.app.state.door
        assert isinstance(door, Door)
        return door

    @property
    def is_json(self) -> bool:
        """What a page of another site cannot make a browser send."""
        return _media_type(self.request) == "application/json"

    def value(self) -> Any:
        """The body's JSON. Raises ProblemError."""
        if not self.is_json:
            raise ProblemError(Problem(415, "media-type", "Send JSON, with Content-Type: application/json."))
        try:
            return parse_value(self.body.decode(), keys_once=True)
        except ValueError as error:
            raise ProblemError(
                Problem(400, "malformed", f"The body cannot be read as JSON: {_told(error)}")
            ) from error

    def check_origin(self) -> None:
        """Raises ForbiddenError for what another site's page may have sent with a person's cookie."""
        if self.caller.cookie and not self.is_json:
            raise ForbiddenError("With a session, send Content-Type: application/json.")


Work = Callable[[Call], Response]


def api_route(path: str, method: str, work: Work) -> Route:
    """A route whose ``work`` is done in a thread; what it raises is answered in JSON."""

    async def endpoint(request: Request) -> Response:
        try:
            async with received(request, LARGEST_BODY) as body:
                return await run_in_threadpool(work, Call(request, body))
        except TestyardError as error:
            return problem_answer(request, _problem(error))
        except ProblemError as error:
            return problem_answer(request, error.problem)
        except ClientDisconnect:
            raise
        except Exception:  # the outermost place: nobody is shown a traceback
            log.exception("%s %s: a bug", request.method, request.scope["path"])
            return problem_answer(request, _BUG)

    return Route(path, endpoint, methods=[method])


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that nobody keeps."""
    return JSONResponse(body, status, {**_NO_STORE, **(headers or {})})


def problem_answer(request: Request, problem: Problem) -> Response:
    """A problem as its answer."""
    body = problem.to_json(request.scope["path"])
    return JSONResponse(body, problem.status, {**_NO_STORE, **problem.headers}, media_type=MEDIA_TYPE)


def http_problem(request: Request, error: HTTPException) -> Response:
    """What the router has to say: no such address, no such method."""
    detail = _WORDS.get(error.status_code, error.detail)
    kind = "missing" if error.status_code == 404 else "method" if error.status_code == 405 else "http"
    return problem_answer(
        request, Problem(error.status_code, kind, detail, headers=dict(error.headers or {}))
    )


def _problem(error: TestyardError) -> Problem:
    if isinstance(error, BodyError):
        return error.problem
    if isinstance(error, KeyReusedError):
        return Problem(422, "key-reused", error.brief)
    found = problem_of(error)
    if found.status >= 500:
        log.warning("%s", error.brief)
    return found


def _media_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _told(error: ValueError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:200]
