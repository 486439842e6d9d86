# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Launchpad knows of people: who may upload what, and who is in which team.

Answers are kept in ``intake_fact``: yes for 3 h, no for 5 min. If Launchpad does not answer, a yes that is
not older than a day still counts; what is not known then is told as such, and is no right. It is then left
alone for half a minute, so that nobody's calls wait for it one after the other.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import Engine, delete, select

from testyard.adapters.fetch import ask
from testyard.adapters.outside import Answer
from testyard.admission import Launchpad
from testyard.errors import OutsideError
from testyard.index import index_errors
from testyard.index.engine import insert_for
from testyard.intake.identity import Identity
from testyard.intake.policy import Question
from testyard.intake.schema import fact
from testyard.jsonobject import parse_object

log = logging.getLogger(__name__)

YES_SECONDS = 3 * 3600.0
NO_SECONDS = 300.0
#: Seconds for which a yes counts while nobody can be asked.
STALE_SECONDS = 86400.0
#: Seconds for one answer, for all that is looked up for one call, and for which it is not asked again after
#: it did not answer at all, or did not answer this question.
_SECONDS = 10.0
_CALL_SECONDS = 20.0
_AWAY_SECONDS = 30.0
_AWAY = "launchpad/away"
#: Teams of one person that are looked through, a page of 300 at a time. The most are in less than 100.
_PAGE, _MOST_PAGES = 300, 10
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
#: Sources of one request that are asked about: the package, and the first triggers.
_MOST_SOURCES = 20


@dataclass(frozen=True)
class LaunchpadKnowledge:
    """Answers the policy's questions (`testyard.intake.policy.Knowledge`). For any number of threads."""

    settings: Launchpad
    memory: Engine
    asks: Callable[..., Answer] = field(default=ask, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)
    until: float = math.inf

    def for_a_call(self) -> LaunchpadKnowledge:
        """The same, for as long as one call may keep its thread waiting."""
        return replace(self, until=self.clock() + _CALL_SECONDS)

    def uploads(self, who: Identity, question: Question) -> bool:
        """True if they may upload the package or a trigger to the release's proposed pocket."""
        person = self._person(who)
        if not person or not question.package or not _NAME.fullmatch(question.release):
            return False
        sources = dict.fromkeys((question.package, *question.triggers))
        failure: OutsideError | None = None
        for source in list(sources)[:_MOST_SOURCES]:
            try:
                if self._fact(
                    f"upload/{question.release}/{source}/{person}",
                    lambda source=source: self._may_upload(person, source, question.release),  # type: ignore[misc]
                ):
                    return True
            except OutsideError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return False

    def member(self, who: Identity, group: str) -> bool:
        """True if they are in the team, also by way of another one."""
        provider, _, team = group.partition("/")
        person = self._person(who)
        if not person or provider != self.settings.provider:
            return False
        return self._fact(f"member/{team}/{person}", lambda: self._in_team(person, team))

    def _person(self, who: Identity) -> str:
        """Their name there; empty if they are none of Launchpad's."""
        provider, _, name = who.owner.partition("/")
        known = self.settings.url and provider == self.settings.provider and _NAME.fullmatch(name)
        return name if known else ""

    def _fact(self, what: str, find: Callable[[], bool]) -> bool:
        key, now = f"launchpad/{what}", self.clock()
        with index_errors(), self.memory.connect() as memory:
            query = select(fact.c.key, fact.c.value).where(fact.c.key.in_((key, _AWAY)), fact.c.expires > now)
            rows: dict[str, dict[str, Any]] = {row.key: row.value for row in memory.execute(query)}
        kept = rows.get(key, {})
        if now < kept.get("fresh", 0):
            return bool(kept["yes"])
        if _AWAY not in rows and now >= kept.get("failed", 0):
            try:
                yes = find()
            except OutsideError as error:
                log.warning("%s", error.brief)
                self._keep_failure(key, kept, now)
            else:
                lasts = YES_SECONDS if yes else NO_SECONDS
                self._keep(key, {"yes": yes, "fresh": now + lasts}, STALE_SECONDS if yes else NO_SECONDS)
                return yes
        if kept.get("yes"):
            return True
        raise OutsideError(
            "Launchpad does not answer, so it is not known whether this is allowed",
            resolution="Try again in some minutes.",
        )

    def _keep_failure(self, key: str, kept: dict[str, Any], now: float) -> None:
        """That this question was not answered; a yes stays as old as it is."""
        if kept.get("yes"):
            value, lasts = kept, kept["fresh"] - YES_SECONDS + STALE_SECONDS - now
        else:
            value, lasts = {"yes": False}, _AWAY_SECONDS
        if self.clock() < self.until:  # else it was not asked for long enough to tell
            self._keep(key, {**value, "failed": self.clock() + _AWAY_SECONDS}, lasts)

    def _keep(self, key: str, value: dict[str, Any], lasts: float) -> None:
        now = self.clock()
        values = {"value": value, "expires": now + lasts}
        with index_errors(), self.memory.begin() as memory:
            query = insert_for(memory.dialect)(fact).values(key=key, **values)
            memory.execute(query.on_conflict_do_update(index_elements=[fact.c.key], set_=values))
            memory.execute(delete(fact).where(fact.c.key.startswith("launchpad/"), fact.c.expires < now))

    def _may_upload(self, person: str, source: str, release: str) -> bool:
        base, distribution = self.settings.url.rstrip("/"), self.settings.distribution
        archive, series = f"{distribution}/+archive/primary", f"{base}/{distribution}/{release}"
        published = self._get(
            archive,
            {
                "ws.op": "getPublishedSources", "source_name": source, "exact_match": "true",
                "distro_series": series, "status": "Published", "ws.size": "1",
            },
        )  # fmt: skip
        entries = _entries(published)
        if not entries:
            return False
        answer = self._ask(
            archive,
            {
                "ws.op": "checkUpload", "component": str(entries[0].get("component_name")),
                "distroseries": series, "person": f"{base}/~{person}", "pocket": "Proposed",
                "sourcepackagename": source,
            },
        )  # fmt: skip
        return _allowed(answer)

    def _in_team(self, person: str, team: str) -> bool:
        start = 0
        for _ in range(_MOST_PAGES):
            page = self._get(f"~{quote(person)}/super_teams", {"ws.size": str(_PAGE), "ws.start": str(start)})
            entries = _entries(page)
            if any(entry.get("name") == team for entry in entries):
                return True
            start += len(entries)
            if not entries or "next_collection_link" not in page:
                return False
        return False

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        answer = self._ask(path, query)
        if answer.status in (404, 410):  # no such person, source or release
            return {"entries": []}
        if answer.status != 200:
            raise OutsideError(f"{answer.url}: status {answer.status}")
        try:
            return dict(parse_object(answer.body))
        except ValueError as error:
            raise OutsideError(f"{answer.url}: {error}") from error

    def _ask(self, path: str, query: dict[str, str]) -> Answer:
        url = f"{self.settings.url.rstrip('/')}/{path}?{urlencode(query)}"
        seconds = min(_SECONDS, self.until - self.clock())
        if seconds <= 0:
            raise OutsideError(f"{self.settings.url}: a call asks it for {_CALL_SECONDS:g} s at most")
        try:
            return self.asks(url, headers={"Accept": "application/json"}, seconds=seconds)
        except OutsideError:
            if seconds == _SECONDS:  # with less it may only have been slow
                self._keep(_AWAY, {}, _AWAY_SECONDS)
            raise


def _allowed(answer: Answer) -> bool:
    if answer.status == 200:
        return True
    # 403: no right; 404: no such person; 400: no such source in this release
    if answer.status in (400, 403, 404):
        return False
    raise OutsideError(f"{answer.url}: status {answer.status}")


def _entries(page: dict[str, Any]) -> list[dict[str, Any]]:
    entries = page.get("entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise OutsideError("Launchpad: an answer without entries")
    return entries
