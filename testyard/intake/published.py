# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether packages and triggers are published.

What cannot be found out, because an archive does not answer, is taken as published: a request that turns
out to be for nothing costs a minute, one that is refused for nothing holds a package up. It is noted.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from testyard.adapters.sources import Suite
from testyard.errors import RequestError, SettingsError, words_of
from testyard.intake.ppas import LATE, Notes, Ppas
from testyard.intake.sourcecache import SourceCache
from testyard.request import MIGRATION_REFERENCE, TestRequest
from testyard.settings import Settings

log = logging.getLogger(__name__)

#: Seconds between two looks for something that is not there, and between two tries of what failed.
RETRY_SECONDS = 60.0


class Published:
    """Looks things up. For any number of threads; processes share it if the settings name a folder."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Raises SettingsError if the folder of the indexes cannot be used."""
        self._settings = settings
        self.folder = settings.intake.archives_cache or Path(tempfile.mkdtemp(prefix="testyard-sources-"))
        if settings.intake.archives_cache is None:  # gone with this, or with the process
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._cache = SourceCache(self.folder, clock)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"intake.archives_cache: {self.folder}: {words_of(error)}") from error
        self._ppas = Ppas(settings.worker.archives, self._cache, settings.intake.archives_max_age)

    def check(self, request: TestRequest, release: str, notes: Notes) -> None:
        """Raises RequestError for what is not published, or an archive that is not there."""
        try:
            self._check(request, release, notes)
        except (OSError, sqlite3.Error) as error:  # a full disk holds nobody's request up
            log.error("indexes of sources: %s", error)
            notes.add(f"what is published in {release}", "its index cannot be kept")

    def missing(self, request: TestRequest, release: str, notes: Notes) -> str:
        """The first trigger that surely is not published; empty if there is none.

        Raises RequestError for an archive that is not there.
        """
        try:
            found = self._missing(request, release, notes)
            return next((what for field, what in found if field == "triggers"), "")
        except (OSError, sqlite3.Error) as error:
            log.error("indexes of sources: %s", error)
            return ""

    def _check(self, request: TestRequest, release: str, notes: Notes) -> None:
        for field, what in self._missing(request, release, notes):
            places = " nor in ".join((release, *(str(ppa) for ppa in request.archives)))
            raise RequestError(field, f"{what} is not published in {places}")

    def _missing(self, request: TestRequest, release: str, notes: Notes) -> Iterator[tuple[str, str]]:
        """Field and source of all that is not there."""
        archives = [self._ppas.look(ppa, release, notes) for ppa in request.archives]
        suites = [
            Suite(archive.url, suite, archive.components, archive.keyring)
            for archive in self._settings.intake.archives
            for suite in archive.suites_of(release)
        ]
        if not suites:
            return
        for field, name, version in self._wanted(request):
            if any(archive.holds(name, version) for archive in archives):
                continue
            if not self._holds(suites, name, version, notes):
                yield field, f"{name}/{version}" if version else name

    def _wanted(self, request: TestRequest) -> list[tuple[str, str, str | None]]:
        """Field, source and version of all that must be there."""
        # from a repository or a folder of the worker's, a package's name is any
        elsewhere = request.test_git or request.build_git or self._settings.worker.source_dir
        wanted: list[tuple[str, str, str | None]] = [] if elsewhere else [("package", request.package, None)]
        for trigger in dict.fromkeys(request.triggers):
            if trigger != MIGRATION_REFERENCE:
                name, _, version = trigger.partition("/")
                wanted.append(("triggers", name, version))
        return wanted

    def _holds(self, suites: Sequence[Suite], name: str, version: str | None, notes: Notes) -> bool:
        """True also if it cannot be found out."""
        max_age = self._settings.intake.archives_max_age
        asked = [
            self._renew(suite, RETRY_SECONDS if self._cache.standing(suite).problem else max_age, notes)
            for suite in suites
        ]
        if self._cache.holds(suites, name, version):
            return True
        # it may be newer than the index
        asked += [self._renew(suite, RETRY_SECONDS, notes) for suite in suites]
        if self._cache.holds(suites, name, version):
            return True
        if not all(asked):
            notes.add(suites[asked.index(False) % len(suites)].place, LATE)
            return True
        standings = {suite: self._cache.standing(suite) for suite in suites}
        unknown = {suite: one for suite, one in standings.items() if one.problem or not one.checked}
        for suite, one in unknown.items():
            notes.add(suite.place, one.problem or "is being read by another process")
        if not unknown and not any(one.there for one in standings.values()):
            notes.add(suites[0].place, "there is no such release, nor any other part of it")
            return True
        return bool(unknown)

    def _renew(self, suite: Suite, older_than: float, notes: Notes) -> bool:
        """False if it is to be asked, and there is no time for it."""
        if notes.late and self._cache.is_due(suite, older_than=older_than):
            return False
        self._cache.renew(suite, older_than=older_than)
        return True
