# SPDX-License-Identifier: AGPL-3.0-or-later
"""A person's or older client's call of a page: what it sent, and how it is answered."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from functions.request.bodies import BodyError, received
from functions.request.who import Caller, address_of, caller, from_elsewhere, is_secure, settings_of
from testyard.errors import (
    BrokerError,
    ConflictError,
    ForbiddenError,
    LimitError,
    MissingError,
    RequestError,
    TestyardError,
)
from testyard.intake import sessions
from testyard.look import HEADERS, Frame, make_templates
from testyard.problem import MEDIA_TYPE, Problem, problem_of, sentences
from testyard.settings import Settings

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
#: What a form may hold: as much as the largest request.
_LARGEST_FORM = 256 * 1024
_MOST_VALUES = 2000
#: Seconds after which a request may be tried again when the broker or the database was away.
_AWAY = 30
_NO_STORE = {"Cache-Control": "no-store"}
#: Characters of an address that a person who has logged in is sent back to.
_LONGEST_WAY_BACK = 6000


@dataclass(frozen=True)
class Visit:
    """One call. ``values`` are the address's for GET, the form's for POST, in their order."""

    request: Request
    values: tuple[tuple[str, str], ...] = ()

    @property
    def caller(self) -> Caller:
        """Who asks. Raises ForbiddenError if a token was sent that opens nothing."""
        return caller(self.request)

    @property
    def settings(self) -> Settings:
        """The app's settings."""
        return settings_of(self.request)

    @property
    def address(self) -> str:
        """Where the call came from."""
        return address_of(self.request)

    @property
    def posted(self) -> bool:
        """True for POST."""
        return self.request.method == "POST"

    @property
    def here(self) -> str:
        """Path and query of this call, to come back to."""
        query = self.request.url.query
        return quote(self.request.url.path, safe="/@") + (f"?{query}" if query else "")

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a name."""
        return tuple(value for key, value in self.values if key == name)

    def one(self, name: str) -> str:
        """The last value of a name, without blanks around it; empty if there is none."""
        return next((value.strip() for key, value in reversed(self.values) if key == name), "")

    def check_form(self) -> None:
        """Raises ForbiddenError unless the form that was posted came from a page of this session."""
        if not self.caller.who.owner and not from_elsewhere(self.request):
            return  # nobody in particular: nothing is done in anybody's name
        if not sessions.csrf_fits(self.caller.cookie, self.one("csrf")):
            raise ForbiddenError(
                "This form is not from a page that you have open, or you have logged in anew since.",
                resolution="Load the page again and send it once more.",
            )


#: Answers a visit; it may wait for databases and other servers.
Handler = Callable[[Visit], Response]


def page_route(path: str, handler: Handler, *methods: str) -> Route:
    """A route whose handler works in a thread, and whose errors become pages."""

    async def endpoint(request: Request) -> Response:
        try:
            async with received(request, _LARGEST_FORM) as body:
                visit = _visit(request, body)
                return await run_in_threadpool(_answered, handler, visit)
        except TestyardError as error:
            return await run_in_threadpool(problem, Visit(request), error)

    return Route(path, endpoint, methods=list(methods or ("GET",)))


def shown(
    visit: Visit,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    """A page from its template. It knows ``who`` asks, the form's token, and the settings."""
    environment = visit.request.app.state.templates
    try:
        known = visit.caller
    except TestyardError:  # it is this that the page tells of
        known = Caller.nobody()
    values = {
        "who": known.who,
        "csrf": sessions.csrf(known.cookie) if known.cookie else "",
        "here": visit.here if len(visit.here) < _LONGEST_WAY_BACK and not visit.posted else "/request",
        "logins": visit.request.app.state.logins,
        **context,
    }
    text = environment.get_template(template).render(values)
    # form fields may hold lone surrogates, which no page can
    body = text.encode(errors="replace")
    return HTMLResponse(body, status, {**HEADERS, **_NO_STORE, **(headers or {})})


def wanted_form(visit: Visit) -> str:
    """``html``, ``json`` or ``text``: the first of these in ``Accept``; ``html`` if it names none."""
    names = {"text/html": "html", "application/json": "json", "application/problem+json": "json"}
    names |= {"text/plain": "text", "*/*": "html"}
    for part in visit.request.headers.get("Accept", "").split(","):
        if kind := names.get(part.partition(";")[0].strip().lower()):
            return kind
    return "html"


def told(visit: Visit, status: int, title: str, lines: list[str], more: Mapping[str, Any]) -> Response | None:
    """The answer as JSON or text if that was asked for; None if a page is wanted."""
    kind = wanted_form(visit)
    headers = {**HEADERS, **_NO_STORE}
    if kind == "json":
        return JSONResponse({"message": title, **more}, status, headers)
    if kind == "text":
        text = "\n".join([title, *lines, ""])
        return PlainTextResponse(text.encode(errors="replace"), status, headers)
    return None


def problem(visit: Visit, error: Exception) -> Response:
    """What went wrong, with the right status, as a page, text or RFC 9457 problem."""
    if isinstance(error, BodyError):
        status, brief, headers = error.problem.status, error.brief, dict(error.problem.headers)
    else:
        status, brief, headers = _status(visit, error)
    help_ = error.resolution if isinstance(error, TestyardError) else ""
    kind = wanted_form(visit)
    headers = {**HEADERS, **_NO_STORE, **headers}
    if kind == "json":
        detail = sentences(brief, help_)
        known = _known(error) or Problem(status, "bug", detail)
        body = replace(known, status=status, detail=detail).to_json(visit.request.url.path)
        return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)
    if kind == "text":
        text = "\n".join(filter(None, [brief, help_, ""])) + "\n"
        return PlainTextResponse(text.encode(errors="replace"), status, headers)
    if isinstance(error, ForbiddenError) and error.login:
        return shown(visit, "login.html", status=status, headers=headers, reason=brief, title="Log in")
    return shown(
        visit, "problem.html", status=status, headers=headers, brief=brief, help=help_,
        title=HTTPStatus(status).phrase,
    )  # fmt: skip


def _known(error: Exception) -> Problem | None:
    if isinstance(error, BodyError):
        return error.problem
    return problem_of(error) if isinstance(error, TestyardError) else None


class OldWordsError(RequestError):
    """A wrong field, in the words that scripts look for."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.brief = problem


class NotThereError(OldWordsError):
    """A field names what does not exist: a release, an architecture, an archive."""


def _status(visit: Visit, error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, ForbiddenError) and error.login and _sent_token(visit):
        return 401, error.brief, {"WWW-Authenticate": "Bearer"}
    if isinstance(error, LimitError):
        return 429, error.brief, {"Retry-After": str(max(1, round(error.retry_after)))}
    kinds: tuple[tuple[type[Exception], int], ...] = (
        (NotThereError, 404), (MissingError, 404), (ConflictError, 409), (RequestError, 400),
        (ForbiddenError, 403),
    )  # fmt: skip
    for kind, status in kinds:
        if isinstance(error, kind):
            return status, str(getattr(error, "brief", error)), {}
    if isinstance(error, BrokerError):
        brief = "The queues cannot be reached at the moment: nothing was sent."
        return 503, brief, {"Retry-After": str(_AWAY)}
    if isinstance(error, TestyardError):
        log.warning("%s: %s", visit.request.url.path, error.brief)
        brief = "A part of this service cannot be reached at the moment: nothing was done."
        return 503, brief, {"Retry-After": str(_AWAY)}
    # the address may hold what is private: it is not logged
    number = secrets.token_hex(4)
    log.error("a bug, told as %s", number, exc_info=error)
    return 500, f"An error of this service. It was logged as {number}.", {}


def _sent_token(visit: Visit) -> bool:
    return visit.request.headers.get("Authorization", "").lower().startswith("bearer")


def _answered(handler: Handler, visit: Visit) -> Response:
    try:
        return handler(visit)
    except Exception as error:  # noqa: BLE001  the outermost place: nobody is shown a traceback
        return problem(visit, error)


def _visit(request: Request, body: bytes) -> Visit:
    if request.method != "POST":
        return Visit(request, _pairs(request.url.query))
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        text = "Send a form, with Content-Type: application/x-www-form-urlencoded."
        raise BodyError(Problem(415, "media-type", text))
    return Visit(request, _pairs(body.decode("latin-1")))


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_VALUES))
    except ValueError as error:
        raise RequestError("body", f"more than {_MOST_VALUES} values") from error


def intake_templates(settings: Settings) -> Any:
    """The pages' templates."""
    return make_templates(TEMPLATES, Frame.of_intake(settings))


def cookie_options(visit: Visit) -> dict[str, Any]:
    """How all our cookies are set."""
    return {
        "path": "/",
        "httponly": True,
        "samesite": "lax",
        "secure": is_secure(visit.settings),
    }
