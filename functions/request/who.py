# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks, and from where. The app's state holds ``settings``, and the intake's engines:
``memory`` writes, ``reader`` reads."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine
from starlette.requests import Request

from testyard.intake import ANONYMOUS, Identity, sessions
from testyard.intake.recognise import recognise
from testyard.settings import Settings


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
    """The intake's engine of the app that a request came to; for writing."""
    memory = request.app.state.memory
    assert isinstance(memory, Engine)
    return memory


def reader_of(request: Request) -> Engine:
    """The same for reading: on SQLite it waits for no writer."""
    reader = request.app.state.reader
    assert isinstance(reader, Engine)
    return reader


def base_url(settings: Settings) -> str:
    """Address of this function for people, without a slash at the end; empty if no setting tells it."""
    return (settings.intake.url or settings.site.url).rstrip("/")


def is_secure(settings: Settings) -> bool:
    """True if people come by https, so that cookies may be for that only."""
    return base_url(settings).startswith("https://")


def address_of(request: Request) -> str:
    """The client's: the last one in ``X-Forwarded-For`` that no trusted proxy has; empty if unknown."""
    address = request.client.host if request.client else ""
    told = _listed(",".join(request.headers.getlist("X-Forwarded-For")))
    if not _is_address(address):
        # without a server of our own (AWS's load balancers) all of the header stands for the client, and its
        # last part is what the balancer itself saw; what comes before is anybody's idea
        told = _listed(address)
        address = told.pop()
    trusted = settings_of(request).intake.trusted_proxies
    while told and _trusts(trusted, address):
        nearer = told.pop()
        if not _is_address(nearer):
            break
        address = nearer
    return address if _is_address(address) else ""


def from_elsewhere(request: Request) -> bool:
    """True if a browser says that a page of another site made it send this.

    On plain http it does not say ``Sec-Fetch-Site``, and tells ``Origin`` with each form.
    """
    told = request.headers.get("Sec-Fetch-Site")
    if told is not None:
        return told != "same-origin"
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if not origin:
        return False
    ours = {request.headers.get("Host", ""), _place(base_url(settings_of(request)))}
    return _place(origin) not in ours - {""}


def _caller(request: Request) -> Caller:
    text = _token(request)
    cookie = request.cookies.get(sessions.cookie_name(secure=is_secure(settings_of(request))), "")
    if not text and not cookie:
        return Caller.nobody()
    found = recognise(reader_of(request), memory_of(request), token=text, cookie=cookie)
    return Caller(found or ANONYMOUS, "" if text or not found else cookie)


def _token(request: Request) -> str:
    """From ``Authorization: Bearer``; older clients send ``X-Api-Key: user:key``, as header or cookie."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip() or "-"
    old = request.headers.get("X-Api-Key", "")
    # a browser sends cookies wherever a stranger's page leads it
    if not old and not _is_browser(request):
        old = unquote(request.cookies.get("X-Api-Key", ""))
    return (old.rpartition(":")[2].strip() or "-") if old else ""


def _is_browser(request: Request) -> bool:
    """True if it looks like one. A page can keep back where it is, and cannot change its browser's name."""
    told = any(name in request.headers for name in ("Sec-Fetch-Site", "Origin", "Referer"))
    return told or request.headers.get("User-Agent", "").lower().startswith("mozilla/")


def _place(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return "?"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


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
