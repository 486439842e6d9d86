# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which runs are worth another try: regressions, failures, temporary failures."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from sqlalchemy import Connection, literal, select

from testyard.index import RunRow
from testyard.index.read import package_runs
from testyard.index.schema import run
from testyard.request import MIGRATION_REFERENCE
from testyard.run import Outcome

_DAY = 86400.0


class Kind(StrEnum):
    """What a run has to be to be tried again. A regression failed, and passed without its triggers."""

    REGRESSION = "regression"
    FAIL = "fail"
    TMPFAIL = "tmpfail"


@dataclass(frozen=True)
class Choice:
    """Runs are those that fit all that is given. ``youngest`` and ``oldest`` are ages in days.

    ``packages`` and ``triggers`` are shell patterns; a trigger's has a version or none. With
    ``blocked_by`` a run counts if one of these packages failed with one of its triggers, too.
    """

    kind: Kind
    releases: Sequence[str] = ()
    architectures: Sequence[str] = ()
    youngest: float = 0.0
    oldest: float = 60.0
    triggers: Sequence[str] = ()
    packages: Sequence[str] = ()
    blocked_by: Sequence[str] = ()


def chosen(index: Connection, choice: Choice) -> tuple[RunRow, ...]:
    """The newest run of each package, place and set of triggers, where it fits; by package.

    Runs with other archives are left out: they say nothing of the release.
    """
    failed = [row for row in _newest(index, choice) if _is(row, choice.kind)]
    held_up = {
        (row.release, trigger)
        for row in failed
        if row.source in choice.blocked_by
        for trigger in row.triggers
    }
    now = time.time()
    found = [
        row
        for row in failed
        if choice.youngest <= (now - row.completed) / _DAY <= choice.oldest
        and _fits(row.source, choice.packages)
        and _triggered(row.triggers, choice.triggers)
        and (not choice.blocked_by or any((row.release, trigger) in held_up for trigger in row.triggers))
        and (choice.kind is not Kind.REGRESSION or _passed_without(index, row))
    ]
    return tuple(sorted(found, key=lambda row: (row.source, row.release, row.architecture, row.triggers)))


def _newest(index: Connection, choice: Choice) -> Iterator[RunRow]:
    columns = [column for column in run.c if column.name not in ("id", "phases", "facts")]
    query = (
        select(*columns)
        .where(run.c.container == literal("autopkgtest-") + run.c.release)
        .where(run.c.completed >= time.time() - choice.oldest * _DAY)
        .order_by(run.c.run_id.desc())
    )
    if choice.releases:
        query = query.where(run.c.release.in_(choice.releases))
    if choice.architectures:
        query = query.where(run.c.architecture.in_(choice.architectures))
    seen: set[tuple[str, str, str, frozenset[str]]] = set()
    for found in index.execute(query):
        row = RunRow(**{**found._mapping, "triggers": tuple(found.triggers.split())})
        key = (row.source, row.release, row.architecture, frozenset(row.triggers))
        if key not in seen:
            seen.add(key)
            yield row


def _is(row: RunRow, kind: Kind) -> bool:
    if kind is Kind.TMPFAIL:
        return row.outcome is Outcome.TMPFAIL
    if kind is Kind.REGRESSION and MIGRATION_REFERENCE in row.triggers:
        return False
    return row.outcome is Outcome.FAIL


def _passed_without(index: Connection, row: RunRow) -> bool:
    """True if the newest reference run passed; without one, if any earlier run did."""
    runs = package_runs(index, row.source, release=row.release, architecture=row.architecture, limit=1000)
    own = [one for one in runs if one.container == row.container]
    references = [one for one in own if one.triggers == (MIGRATION_REFERENCE,)]
    if references:
        return references[0].outcome in (Outcome.PASS, Outcome.NEUTRAL)
    return any(one.run_id < row.run_id and one.outcome is Outcome.PASS for one in own)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    wanted = tuple(patterns)
    return not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)


def _triggered(triggers: Sequence[str], patterns: Iterable[str]) -> bool:
    wanted = tuple(pattern if "/" in pattern else f"{pattern}/*" for pattern in patterns)
    return not wanted or any(fnmatchcase(one, pattern) for one in triggers for pattern in wanted)
