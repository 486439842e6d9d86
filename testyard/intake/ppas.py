# SPDX-License-Identifier: AGPL-3.0-or-later
"""Archives that requests name beside the release's: whether they exist, have a key, and what is in them."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from testyard.adapters.fetch import ask
from testyard.adapters.sources import DeniedError, Seen, Suite, read_release, read_sources
from testyard.archives import Archives
from testyard.errors import OutsideError, RequestError
from testyard.intake.sourcecache import SourceCache
from testyard.jsonobject import parse_object
from testyard.ppa import Ppa

log = logging.getLogger(__name__)

#: Seconds for which it is kept that an archive exists, and that it does not.
_THERE_SECONDS, _MISSING_SECONDS = 3600.0, 300.0
_RETRY_SECONDS = 60.0
#: Seconds for all that is looked up in one call; what is begun before may last as long again.
_CALL_SECONDS = 20.0
LATE = "others have not answered in time"


@dataclass(frozen=True)
class Notes:
    """What could not be found out in one call; each place once."""

    told: dict[str, str] = field(default_factory=dict)
    until: float = field(default_factory=lambda: time.monotonic() + _CALL_SECONDS)

    @property
    def late(self) -> bool:
        """True if nobody is to be asked any more in this call."""
        return time.monotonic() > self.until

    def add(self, place: str, problem: str) -> None:
        """Tell of it."""
        log.warning("%s: not looked up: %s", place, problem)
        self.told.setdefault(place, problem)

    @property
    def lines(self) -> tuple[str, ...]:
        """For whoever asked."""
        return tuple(
            f"not looked up whether it is published: {place}: {why}" for place, why in self.told.items()
        )


class Looked(Protocol):
    """An archive whose content is known."""

    def holds(self, name: str, version: str | None) -> bool:
        """True if it has a source, or if that cannot be found out."""


@dataclass(frozen=True)
class _Public:
    cache: SourceCache
    suite: Suite
    known: bool

    def holds(self, name: str, version: str | None) -> bool:
        return not self.known or self.cache.holds([self.suite], name, version)


@dataclass(frozen=True)
class _Private:
    """``versions`` is None if they are not known."""

    versions: Mapping[str, set[str]] | None

    def holds(self, name: str, version: str | None) -> bool:
        if self.versions is None:
            return True
        found = self.versions.get(name, set())
        return bool(found) if version is None else version in found


class Ppas:
    """Looks at archives. For any number of threads."""

    def __init__(self, settings: Archives, cache: SourceCache, max_age: float) -> None:
        self._settings, self._cache, self._max_age = settings, cache, max_age

    def look(self, ppa: Ppa, release: str, notes: Notes) -> Looked:
        """Raises RequestError if a testbed could not use it."""
        suite = Suite(self._settings.address(ppa), release, (self._settings.component,))
        if notes.late:
            notes.add(str(ppa), LATE)
            return _Private(None)
        if not ppa.public:
            return self._private(ppa, suite, notes)
        self._check_key(ppa, notes)
        failed = self._cache.standing(suite).problem
        self._cache.renew(suite, older_than=_RETRY_SECONDS if failed else self._max_age)
        if not self._cache.standing(suite).there:  # its first package for this release may be new
            self._cache.renew(suite, older_than=_RETRY_SECONDS)
        standing = self._cache.standing(suite)
        known = bool(standing.checked) and not standing.problem
        if known and not standing.there:
            raise RequestError("ppas", f"{ppa} has nothing for {release}")
        if not known:
            notes.add(str(ppa), standing.problem or "is being read by another process")
        return _Public(self._cache, suite, known)

    def _private(self, ppa: Ppa, suite: Suite, notes: Notes) -> Looked:
        # never kept: nobody may learn what is in it but who has its credentials
        if not ppa.fingerprint and self._settings.keys is None:
            raise RequestError("ppas", f"{ppa} is private, so its key must be named: {ppa}:FINGERPRINT")
        suite = Suite(suite.url, suite.name, suite.components, login=(ppa.user, ppa.token))
        versions: dict[str, set[str]] = defaultdict(set)
        try:
            release = read_release(suite, Seen())
            if release is None or not release.there:
                raise RequestError("ppas", f"{ppa} has nothing for {suite.name}, or does not exist")
            for path, sha256 in release.sources.values():
                for name, version in read_sources(suite, path, sha256):
                    versions[name].add(version)
        except DeniedError as error:
            raise RequestError("ppas", f"{ppa} does not accept the credentials") from error
        except OutsideError as error:
            notes.add(str(ppa), error.brief)
            return _Private(None)
        return _Private(versions)

    def _check_key(self, ppa: Ppa, notes: Notes) -> None:
        if not self._settings.about_url:
            return
        try:
            told = self._fingerprint(self._settings.about_url.format(owner=ppa.owner, name=ppa.name))
        except OutsideError as error:
            notes.add(str(ppa), error.brief)
            return
        if told is None:
            raise RequestError("ppas", f"there is no archive {ppa}")
        if self._settings.keys is not None:  # it may hold another key of the operators
            return
        if not told and not ppa.fingerprint:
            raise RequestError("ppas", f"{ppa} has no key yet, so nothing of it can be installed")
        if told and not told.endswith(ppa.fingerprint):
            raise RequestError("ppas", f"{ppa} is signed with another key than named: {told}")

    def _fingerprint(self, url: str) -> str | None:
        """What the archives' own service tells; None if it knows no such archive."""
        kept, fingerprint = self._cache.about(url)
        if kept:
            return fingerprint
        answer = ask(url, headers={"Accept": "application/json"})
        if answer.status in (404, 410):
            self._cache.keep_about(url, None, _MISSING_SECONDS)
            return None
        if answer.status != 200:
            raise OutsideError(f"{url}: status {answer.status}")
        try:
            told = str(parse_object(answer.body).get("signing_key_fingerprint") or "").upper()
        except ValueError as error:
            raise OutsideError(f"{url}: {error}") from error
        self._cache.keep_about(url, told, _THERE_SECONDS if told else _MISSING_SECONDS)
        return told
