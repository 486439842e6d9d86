# SPDX-License-Identifier: AGPL-3.0-or-later
"""``/login`` and ``/logout``: from a place where people log in to a session here."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from typing import Any

from sqlalchemy import Connection, delete
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from functions.request.github import GithubProvider
from functions.request.oidc import OidcProvider
from functions.request.openid2 import OpenidProvider
from functions.request.places import GithubPlace, OidcPlace, OpenidPlace
from functions.request.provider import LoginError, Person, Provider, ProviderAwayError
from functions.request.visit import Handler, Visit, cookie_options, page_route, shown
from functions.request.who import base_url, is_secure, memory_of
from testyard.errors import MissingError, RequestError
from testyard.index import index_errors
from testyard.intake import ANONYMOUS, Identity, audit, sessions, tokens
from testyard.intake.audit import Action
from testyard.intake.rates import Bucket, network_of, take
from testyard.intake.schema import fact

log = logging.getLogger(__name__)

#: Seconds that a login may take.
_PATIENCE = 600
#: Steps of logins that one address may take at once, and in each minute from then on.
_BURST = 60
#: A path of ours, and nothing that a browser could take for another host.
_WAY_BACK = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def login_routes() -> list[BaseRoute]:
    """The pages, and where providers send people back to."""
    return [
        page_route("/login", _login),
        page_route("/login/token", _limited(_by_token), "POST"),
        page_route("/login/{key}", _limited(_start)),
        page_route("/login/{key}/callback", _limited(_callback)),
        page_route("/logout", _logout, "POST"),
    ]


def login_bucket(address: str) -> tuple[Bucket, ...]:
    """How often somebody at an address may begin, end or try a login; each writes, and some ask elsewhere."""
    network = network_of(address)
    return (Bucket("login", network, _BURST, _BURST / 60, "this address"),) if network else ()


def make_provider(place: OidcPlace | GithubPlace | OpenidPlace) -> Provider:
    """The provider at a place."""
    if isinstance(place, OidcPlace):
        return OidcProvider(place)
    return GithubProvider(place) if isinstance(place, GithubPlace) else OpenidProvider(place)


def _limited(handler: Handler) -> Handler:
    def limited(visit: Visit) -> Response:
        with index_errors(), memory_of(visit.request).begin() as memory:
            take(memory, login_bucket(visit.address))
        return handler(visit)

    return limited


def _login(visit: Visit) -> Response:
    if visit.caller.cookie:
        return RedirectResponse(_way_back(visit), 303)
    return shown(visit, "login.html", title="Log in", reason="", here=_way_back(visit))


def _start(visit: Visit) -> Response:
    key, provider = _provider(visit)
    state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    start = provider.start(_callback_url(visit, key), state)
    value = {**start.kept, "provider": key, "next": _way_back(visit), "browser": _digest(browser)}
    with index_errors(), memory_of(visit.request).begin() as memory:
        memory.execute(delete(fact).where(fact.c.key.startswith("login/"), fact.c.expires < time.time()))
        memory.execute(
            fact.insert().values(key=f"login/{_digest(state)}", value=value, expires=time.time() + _PATIENCE)
        )
    response = RedirectResponse(start.url, 303, {"Cache-Control": "no-store"})
    response.set_cookie(_browser_cookie(visit), browser, max_age=_PATIENCE, **cookie_options(visit))
    return response


def _callback(visit: Visit) -> Response:
    key, provider = _provider(visit)
    try:
        kept = _kept(visit, key, visit.one("state"))
        person = _person(visit, key, provider, kept)
    except LoginError as error:
        return _failed(visit, key, error)
    return _welcome(visit, _person_here(key, person), kept["next"])


def _person(visit: Visit, key: str, provider: Provider, kept: dict[str, Any]) -> Person:
    told = dict(visit.values)
    if told.get("error"):
        raise LoginError("The provider did not log you in, or you did not want it.")
    return provider.finish(_callback_url(visit, key), visit.one("state"), kept, told)


def _by_token(visit: Visit) -> Response:
    """A session that may do what the token may, and ends with it."""
    visit.check_form()
    with index_errors(), memory_of(visit.request).begin() as memory:
        who = tokens.identify(memory, visit.one("token"))
    if who is None:
        return _failed(
            visit, "token", LoginError("This token opens nothing here: it is mistyped, or has ended.")
        )
    return _welcome(visit, who, _way_back(visit))


def _person_here(key: str, person: Person) -> Identity:
    return Identity(f"{key}/{person.user}", person.login, tuple(f"{key}/{each}" for each in person.groups))


def _welcome(visit: Visit, who: Identity, way_back: str) -> Response:
    cookie = visit.request.cookies.get(_session_cookie(visit), "")
    with index_errors(), memory_of(visit.request).begin() as memory:
        # what the browser had before is no session any more, whoever gave it to it
        sessions.end(memory, cookie)
        value = sessions.begin(memory, owner=who.owner, login=who.login, groups=who.groups, token=who.token)
        audit.record(memory, Action.LOGIN, who, address=visit.address)
    response = RedirectResponse(way_back, 303, {"Cache-Control": "no-store"})
    options = cookie_options(visit)
    response.set_cookie(_session_cookie(visit), value, max_age=int(sessions.LIFETIME), **options)
    response.delete_cookie(_browser_cookie(visit), **options)
    return response


def _failed(visit: Visit, key: str, error: LoginError) -> Response:
    log.info("login by %s came to nothing: %s", key, error.brief)
    with index_errors(), memory_of(visit.request).begin() as memory:
        details = {"provider": key, "reason": error.brief}
        audit.record_refusal(memory, Action.LOGIN_REFUSED, ANONYMOUS, address=visit.address, **details)
    return shown(visit, "login.html", status=403, title="Not logged in", reason=error.brief, here="/request")


def _logout(visit: Visit) -> Response:
    response = RedirectResponse("/login", 303, {"Cache-Control": "no-store"})
    found = visit.caller
    if found.cookie:
        visit.check_form()
        with index_errors(), memory_of(visit.request).begin() as memory:
            sessions.end(memory, found.cookie)
            audit.record(memory, Action.LOGOUT, found.who, address=visit.address)
    response.delete_cookie(_session_cookie(visit), **cookie_options(visit))
    return response


def _provider(visit: Visit) -> tuple[str, Provider]:
    key = visit.request.path_params["key"]
    provider = visit.request.app.state.providers.get(key)
    if provider is None:
        raise MissingError("Nobody can log in there.")
    return key, provider


def _kept(visit: Visit, key: str, state: str) -> dict[str, Any]:
    """What was remembered of a login; it is forgotten, so that it can be finished once only."""
    browser = visit.request.cookies.get(_browser_cookie(visit), "")
    if not _SECRET.fullmatch(state):
        raise LoginError("This is no login that began here. Try again.")
    with index_errors(), memory_of(visit.request).begin() as memory:
        found = _taken(memory, state)
    if (
        found is None
        or found["provider"] != key
        or not hmac.compare_digest(str(found["browser"]), _digest(browser))
    ):
        raise LoginError("This login began elsewhere, or took longer than 10 minutes. Try again.")
    return found


def _taken(memory: Connection, state: str) -> dict[str, Any] | None:
    mine = (fact.c.key == f"login/{_digest(state)}", fact.c.expires > time.time())
    row = memory.execute(delete(fact).where(*mine).returning(fact.c.value)).one_or_none()
    return None if row is None else dict(row.value)


def _way_back(visit: Visit) -> str:
    wanted = visit.one("next")
    return wanted if len(wanted) < 8000 and _WAY_BACK.fullmatch(wanted) else "/request"


def _callback_url(visit: Visit, key: str) -> str:
    base = base_url(visit.settings)
    if not base:
        raise RequestError("intake.url", "this setting is needed to log in")
    return f"{base}/login/{key}/callback"


def _session_cookie(visit: Visit) -> str:
    return sessions.cookie_name(secure=is_secure(visit.settings))


def _browser_cookie(visit: Visit) -> str:
    return f"{_session_cookie(visit)}-login"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


__all__ = ["ProviderAwayError", "login_routes", "make_provider"]
