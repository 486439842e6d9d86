# SPDX-License-Identifier: AGPL-3.0-or-later
"""``/tokens``: the page where people make, see and revoke their own tokens."""

from __future__ import annotations

import time

from sqlalchemy import Connection
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from functions.request.visit import Visit, page_route, shown
from functions.request.who import memory_of
from testyard.errors import ForbiddenError, MissingError, RequestError
from testyard.index import index_errors
from testyard.intake import Identity, Scope, audit, tokens
from testyard.intake.audit import Action
from testyard.intake.tokens import Token

#: What people may give a token; what is for operators is given by `testyard token make`.
SCOPES = {
    Scope.REQUEST: "Ask for tests",
    Scope.CANCEL: "Cancel requests",
    Scope.READ_PRIVATE: "Read my private requests and results",
}
LIFETIMES = {7: "a week", 30: "30 days", 90: "90 days", 365: "a year"}
#: Tokens of one person that may be live at a time.
_MOST = 50


def token_routes() -> list[BaseRoute]:
    """The page, and what its forms do."""
    return [
        page_route("/tokens", _tokens, "GET", "POST"),
        page_route("/tokens/{token_id}/revoke", _revoke, "POST"),
    ]


def _tokens(visit: Visit) -> Response:
    who = _person(visit)
    if not visit.posted:
        return _page(visit, who)
    visit.check_form()
    try:
        text = _make(visit, who)
    except RequestError as error:
        return _page(visit, who, status=400, error=error.problem)
    return _page(visit, who, made=text)


def _revoke(visit: Visit) -> Response:
    who = _person(visit)
    visit.check_form()
    with index_errors(), memory_of(visit.request).begin() as memory:
        found = tokens.revoke(memory, visit.request.path_params["token_id"], owner=who.owner)
        if found is None:
            raise MissingError("You have no such token that could be revoked.")
        audit.record(memory, Action.TOKEN_REVOKED, who, address=visit.address, id=found.id, name=found.name)
    return RedirectResponse("/tokens", 303)


def _person(visit: Visit) -> Identity:
    """Who has logged in: no token makes another, or a revoked one could live on."""
    found = visit.caller
    if not found.cookie:
        raise ForbiddenError("Log in to see your tokens.", login=not found.who.owner)
    if found.who.token:
        raise ForbiddenError(
            "You have logged in with a token, which neither makes nor revokes others.",
            resolution="Log in at a place that knows you. Operators: testyard token.",
        )
    return found.who


def _make(visit: Visit, who: Identity) -> str:
    names = set(visit.all("scope"))
    scopes = [scope for scope in SCOPES if scope in names]
    if names - set(SCOPES) or not scopes:
        raise RequestError("scopes", f"Choose what it may do: at least one of {', '.join(SCOPES)}.")
    days = next((days for days in LIFETIMES if visit.one("days") == str(days)), None)
    if days is None:
        raise RequestError("days", f"It can last {', '.join(map(str, LIFETIMES))} days.")
    name, expires = visit.one("name"), time.time() + days * 86400.0
    with index_errors(), memory_of(visit.request).begin() as memory:
        if len(_live(memory, who)) >= _MOST:
            raise RequestError("tokens", f"You have {_MOST} tokens: revoke one first.")
        try:
            token_id, text = tokens.make(
                memory, owner=who.owner, name=name, groups=who.groups, scopes=scopes, expires=expires
            )
        except RequestError as error:
            raise RequestError(error.field, f"Its {error.field} {error.problem}.") from error
        audit.record(
            memory,
            Action.TOKEN_MADE,
            who,
            address=visit.address,
            id=token_id,
            name=name,
            scopes=sorted(scopes),
        )
    return text


def _live(memory: Connection, who: Identity) -> list[Token]:
    now = time.time()
    return [token for token in tokens.tokens_of(memory, who.owner) if token.live(now)]


def _page(visit: Visit, who: Identity, *, status: int = 200, error: str = "", made: str = "") -> Response:
    with index_errors(), memory_of(visit.request).connect() as memory:
        found = tokens.tokens_of(memory, who.owner)
    return shown(
        visit, "tokens.html", status=status, title="Your tokens", tokens=found[:200], now=time.time(),
        error=error, made=made, scopes=list(SCOPES.items()), lifetimes=list(LIFETIMES.items()),
    )  # fmt: skip
