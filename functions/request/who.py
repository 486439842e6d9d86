# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks, and from where. The app's state holds ``settings`` and ``memory``, the intake's engine."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote

from sqlalchemy import Engine
from starlette.requests import Request

from testyard.errors import ForbiddenError
from testyard.index import index_errors
from testyard.intake import ANONYMOUS, Identity, sessions, tokens
from testyard.settings import Settings

#: Browsers send no longer cookie, and tokens are shorter by far.
_LONGEST = 4096


@dataclass(frozen=True)
class Caller:
    """Who asks; ``cookie`` is the session's if that is how they were recognised, else empty."""

    who: Identity
    cookie: str = ""

    @property
    def by_token(self) -> bool:
        """True if the call itself brought a token, which no page of a stranger's can have it do."""
        return bool(self.who.token) and not self.cookie

    @classmethod
    def nobody(cls) -> Caller:
        """Somebody who was not recognised."""
        return cls(ANONYMOUS)


def who_asks(request: Request) -> Identity:
    """Who asks, by token or session; ANONYMOUS if neither was sent. Asks the database: for a thread.

    Raises ForbiddenError if a token was sent that opens nothing, and TestyardError if the database is away.
    """
    return caller(request).who


def caller(request: Request) -> Caller:
    """The same, with the session."""
    found = getattr(request.state, "caller", None)
    if not isinstance(found, Caller):
        found = request.state.caller = _caller(request)
    return found


def settings_of(request: Request) -> Settings:
    """The settings of the app that a request came to."""
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


def memory_of(request: Request) -> Engine:
    """The intake's engine of the app that a request came to."""
    memory = request.app.state.memory
    assert isinstance(memory, Engine)
    return memory


def base_url(settings: Settings) -> str:
    """Address of this function for people, without a slash at the end; empty if no setting tells it."""
    return (settings.intake.url or settings.site.url).rstrip("/")


def is_secure(settings: Settings) -> bool:
    """True if people come by https, so that cookies may be for that only."""
    return base_url(settings).startswith("https://")


def address_of(request: Request) -> str:
    """The client's address: the last one in ``X-Forwarded-For`` that no trusted proxy has."""
    address = request.client.host if request.client else ""
    trusted = settings_of(request).intake.trusted_proxies
    told = [part.strip() for part in ",".join(request.headers.getlist("X-Forwarded-For")).split(",")]
    while told and _trusts(trusted, address):
        nearer = told.pop()
        if not _is_address(nearer):
            break
        address = nearer
    return address


def _caller(request: Request) -> Caller:
    text = _token(request)
    cookie = request.cookies.get(sessions.cookie_name(secure=is_secure(settings_of(request))), "")
    if not text and not cookie:
        return Caller.nobody()
    with index_errors(), memory_of(request).begin() as memory:
        if text:
            found = tokens.identify(memory, text)
            if found is None:
                raise ForbiddenError(
                    "This token opens nothing: it is wrong, has expired or was revoked.", login=True
                )
            return Caller(found)
        found = sessions.identify(memory, cookie)
    return Caller(found, cookie) if found else Caller.nobody()


def _token(request: Request) -> str:
    """From ``Authorization: Bearer``; older clients send ``X-Api-Key: user:key``, as header or cookie."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()[:_LONGEST] or "-"
    old = request.headers.get("X-Api-Key", "")
    # a browser sends cookies wherever a stranger's page leads it, and says that it is one
    if not old and "Sec-Fetch-Site" not in request.headers:
        old = unquote(request.cookies.get("X-Api-Key", ""))
    return (old.rpartition(":")[2].strip()[:_LONGEST] or "-") if old else ""


def _trusts(proxies: tuple[str, ...], address: str) -> bool:
    if not _is_address(address):
        return False
    found = ip_address(address)
    return any(found in ip_network(proxy, strict=False) for proxy in proxies)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
