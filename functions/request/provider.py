# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the kinds of login have in common."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from testyard.errors import TestyardError, words_of

#: Seconds for one answer of a provider.
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
#: Seconds for which a provider's description and keys are kept, and that it could not be reached.
_KEPT, _AWAY = 3600.0, 30.0
_LARGEST = 1024 * 1024
#: What is looked at of an answer's headers; those about its form on the way are not its body's any more.
_KEPT_HEADERS = ("content-type", "location", "x-xrds-location")
_MOST_GROUPS = 1000
_USER = re.compile(r"[^\s/\x00-\x1f\x7f*?\[\]@]{1,200}")
_GROUP = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")


class LoginError(TestyardError):
    """A login that came to nothing; what it says may be shown to whoever tried."""


class ProviderAwayError(TestyardError):
    """The provider cannot be reached, or answers what makes no sense."""


@dataclass(frozen=True)
class Person:
    """Who has logged in: ``user`` is theirs alone at this provider, ``login`` is what people read."""

    user: str
    login: str
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, user: Any, login: Any, groups: Any = ()) -> Person:
        """Check what a provider said. Raises LoginError."""
        if not isinstance(user, str) or not _USER.fullmatch(user) or not user.isprintable():
            raise LoginError("The provider did not say who you are, in a form that can be used here.")
        shown = login if isinstance(login, str) and login.isprintable() and login.strip() else user
        named = groups if isinstance(groups, list | tuple) else ()
        fit = [group for group in named if isinstance(group, str) and _GROUP.fullmatch(group)]
        return cls(user, shown[:100], tuple(dict.fromkeys(fit))[:_MOST_GROUPS])


@dataclass(frozen=True)
class Start:
    """Where a person goes to log in, and what is remembered until they come back."""

    url: str
    kept: Mapping[str, str]


class Kept:
    """What a provider tells of itself, for any thread: kept for an hour, and that it is away for 30 s.

    Whoever begins a login, and that is anybody, makes us ask it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Any]] = {}

    def asked(self, key: str, ask: Callable[[], Any], *, anew: bool = False) -> Any:
        """What ``ask`` gives, or gave lately; ``anew`` asks unless that failed lately. Raises as ``ask``."""
        now = time.monotonic()
        with self._lock:
            until, found = self._found.get(key, (0.0, None))
        failed = isinstance(found, TestyardError)
        if now < until and failed:
            raise ProviderAwayError(found.brief)
        if now >= until or anew:
            try:
                until, found = now + _KEPT, ask()
            except (ProviderAwayError, LoginError) as error:
                if found is None or failed or not anew:  # else what is known still holds
                    self._keep(key, time.monotonic() + _AWAY, error)
                raise
            self._keep(key, until, found)
        return found

    def _keep(self, key: str, until: float, found: Any) -> None:
        with self._lock:
            self._found[key] = (until, found)


class Provider(Protocol):
    """One place to log in, for any thread."""

    def start(self, back: str, state: str) -> Start:
        """Send a person there; ``back`` is our address. Raises ProviderAwayError."""

    def finish(self, back: str, state: str, kept: Mapping[str, str], told: Mapping[str, str]) -> Person:
        """Who came back with ``told`` in the address. Raises LoginError, ProviderAwayError."""


def asked(method: str, url: str, **more: Any) -> httpx.Response:
    """A provider's answer, whatever its status, with its body; no redirection is followed.

    Raises ProviderAwayError if it is too long, httpx.HTTPError, httpx.InvalidURL.
    """
    with httpx.Client(timeout=TIMEOUT) as client, client.stream(method, url, **more) as answer:
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > _LARGEST:
                raise ProviderAwayError("the login provider's answer is too long")
        kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        return httpx.Response(answer.status_code, headers=kept, content=bytes(body))


def asked_json(method: str, url: str, **more: Any) -> Any:
    """A provider's answer. Raises LoginError if it refuses, ProviderAwayError."""
    try:
        whole = asked(method, url, **more)
        if 400 <= whole.status_code < 500:
            raise LoginError("The provider refused this login. Try again.")
        if not whole.is_success:
            raise ProviderAwayError(f"login provider: it answers with status {whole.status_code}")
        return whole.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ProviderAwayError(f"login provider: {words_of(error)}") from error
