# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells forges what they shall show, one row after the other, until each has confirmed it.

Any number of copies, with any number of threads, do so at the same time: a row is held by one.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine

from testyard.adapters.forge import Forge
from testyard.adapters.forges import Forges, may_tell
from testyard.errors import ForgeError, ResultError, StoreError
from testyard.index import index_errors
from testyard.intake import statuses
from testyard.intake.projects import Project, Projects
from testyard.intake.report import report_of
from testyard.intake.statuses import Status
from testyard.ports import Store
from testyard.result import Result, read_result_tar
from testyard.store import RESULT, RunPath, is_private, is_results_container

log = logging.getLogger(__name__)

#: Seconds between two attempts at most: while a forge is away, and while it refuses.
_LONGEST_PAUSE = 300.0
_LONGEST_REFUSED = 3600.0
#: Attempts at what a forge calls wrong (it may just not know the commit yet: 4 h), and at reading a result.
_WRONG_ATTEMPTS = 10
_READ_ATTEMPTS = 5
#: Seconds until a project is looked at again that has no token: somebody must write it into a file.
_NOBODY_PAUSE = 600.0
#: Seconds until the same is said again of a project, and so many of which it is known.
_SAY_AGAIN, _MOST_SAID = 3600.0, 1000
#: Rows of one call of `tell_all`.
_AT_ONCE = 50


class StatusSender:
    """For any number of threads. ``site`` is the address of the pages, or empty."""

    def __init__(
        self, memory: Engine, store: Store, projects: Callable[[], Projects], forges: Forges, *, site: str
    ) -> None:
        self._memory, self._store, self._projects, self._forges = memory, store, projects, forges
        self._site = site
        self._say_again: dict[tuple[str, str], float] = {}

    def tell_all(self) -> int:
        """Tell what is to be told now; returns how many rows it tried. Raises TestyardError."""
        tried = 0
        while tried < _AT_ONCE and self.tell_one():
            tried += 1
        return tried

    def tell_one(self) -> bool:
        """Tell one row; False if none is to be told now. Raises TestyardError if the database is away."""
        projects = self._projects()
        with index_errors(), self._memory.begin() as connection:
            row = statuses.take(connection)
        if row is None:
            return False
        try:
            memo = self._tell(row, projects.of(row.forge, row.project))
        except (ForgeError, StoreError) as error:
            self._failed(row, error)
            return True
        with index_errors(), self._memory.begin() as connection:
            statuses.told(connection, row, memo)
        return True

    def _tell(self, row: Status, project: Project | None) -> Mapping[str, Any]:
        forge = self._forge(row, project)
        report = report_of(row, self._result(row), site=self._site)
        first = row.turn == 1 and row.attempts == 1
        return forge.show(row.project, report, row.memo, first=first)

    def _forge(self, row: Status, project: Project | None) -> Forge:
        if project is None:
            raise self._nobody(row, "the project is not in intake.projects")
        if not may_tell(project):
            raise self._nobody(row, "the project has no token in intake.projects")
        return self._forges.of(project)

    def _nobody(self, row: Status, problem: str) -> ForgeError:
        """There is no account with which the forge could be told: said once an hour."""
        place = f"{row.forge}/{'a private project' if row.private else row.project}"
        now = time.monotonic()
        if now >= self._say_again.get((place, problem), 0.0):
            if len(self._say_again) >= _MOST_SAID:  # their names may be anybody's
                self._say_again.clear()
            self._say_again[place, problem] = now + _SAY_AGAIN
            log.warning("%s: no statuses: %s", place, problem)
        return ForgeError(problem, retry_after=_NOBODY_PAUSE, unasked=True)

    def _result(self, row: Status) -> Result | None:
        """The stored result, for the words; without it the exit code must do."""
        container, path = row.ended.get("container"), row.ended.get("path")
        if row.private or not (isinstance(container, str) and isinstance(path, str)):
            return None
        if not is_results_container(container) or is_private(container):
            return None
        try:
            data = self._store.get(container, RunPath.parse(path).file(RESULT))
            return None if data is None else read_result_tar(data)
        except ResultError:
            return None
        except StoreError:
            if row.attempts < _READ_ATTEMPTS:
                raise
            return None

    def _failed(self, row: Status, error: ForgeError | StoreError) -> None:
        pause = pause_after(error, row.attempts)
        if isinstance(error, ForgeError) and error.unasked:
            with index_errors(), self._memory.begin() as connection:
                statuses.put_off(connection, row, error.brief, pause or 0)
            return
        log.warning(
            "%s/%s: %s: %s; %s",
            row.forge,
            "a private project" if row.private else row.project,
            row.request_id,
            error.brief,
            "given up" if pause is None else f"again in {pause:.0f} s",
        )
        with index_errors(), self._memory.begin() as connection:
            statuses.failed(connection, row, error.brief, pause)


def pause_after(error: ForgeError | StoreError, attempts: int) -> float | None:
    """Seconds until the next attempt; None if there is none."""
    least, longest = 1.0, _LONGEST_PAUSE
    asked = 0.0
    if isinstance(error, ForgeError):
        asked = error.retry_after or 0.0
        if error.unasked:
            return asked * random.uniform(1.0, 1.2)  # noqa: S311  no secret
        if error.lasting and attempts >= _WRONG_ATTEMPTS:
            return None
        if error.lasting or error.refused:
            least, longest = 15.0, _LONGEST_REFUSED
    pause = min(least * 2.0 ** min(attempts - 1, 30), longest)
    # copies that failed at once shall not come back at once
    return float(max(pause, asked) * random.uniform(1.0, 1.2))  # noqa: S311  no secret
