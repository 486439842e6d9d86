# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests that wait and need not run: duplicates, superseded pushes, triggers that are gone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Row, select

from testyard.errors import RequestError
from testyard.index import RequestRow, RequestState, index_errors
from testyard.index.read import requests_in
from testyard.intake.fingerprint import fingerprint
from testyard.intake.ppas import Notes
from testyard.intake.published import Published
from testyard.intake.schema import asked
from testyard.request import TestRequest, make_request
from testyard.secrets import MASK

_MOST = 100_000
#: Seconds between the pushes of which the older one is superseded; one push may ask for several runs.
_ONE_PUSH = 2.0
#: Subject of a pull request's push: ``<forge>/<project>#<number>@<commit>``.
_PULL = re.compile(r"[^#@]+#[0-9]+@[0-9a-f]+")


class Archives(Protocol):
    """What knows which sources a release has."""

    def gone(self, request: TestRequest, release: str) -> str:
        """Which trigger the release surely no longer has; empty if none."""


class _Look:
    """One look at what is `Published`: each set of triggers is asked for once."""

    def __init__(self, published: Published) -> None:
        self._published = published
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}

    def gone(self, request: TestRequest, release: str) -> str:
        """See `Archives`."""
        key = (release, request.triggers)
        if key not in self._known:
            self._known[key] = self._published.missing(request, release, Notes())
        return self._known[key]


@dataclass(frozen=True)
class Useless:
    """A request that need not run, and why."""

    row: RequestRow
    reason: str


def find_useless(published: Published, memory: Engine, index: Engine) -> tuple[Useless, ...]:
    """As `useless`; triggers are gone that are not published. Raises TestyardError."""
    archives = _Look(published)
    with index_errors(), memory.connect() as asked_for, index.connect() as known:
        return useless(asked_for, known, archives)


def useless(memory: Connection, index: Connection, archives: Archives | None = None) -> tuple[Useless, ...]:
    """All that wait in vain, each once. What is private or had secrets is left alone."""
    rows = requests_in(index, [RequestState.QUEUED], limit=_MOST)
    doors = _of_doors(memory, [row.request_id for row in rows])
    found: dict[str, Useless] = {}
    for one in (
        *_duplicates(rows, doors),
        *_superseded(rows, doors),
        *(_obsolete(rows, archives) if archives else ()),
    ):
        found.setdefault(one.row.request_id, one)
    return tuple(found.values())


def _of_doors(memory: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """What came through a door of ours, by id."""
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(ids), 1000):
        query = select(asked.c.request_id, asked.c.subject, asked.c.created, asked.c.body).where(
            asked.c.request_id.in_(ids[start : start + 1000])
        )
        found |= {row.request_id: row for row in memory.execute(query)}
    return found


def _duplicates(rows: Sequence[RequestRow], doors: dict[str, Row[Any]]) -> Iterator[Useless]:
    """The door tells the same apart, and lets it in twice only by force: so that stays."""
    first: dict[str, str] = {}
    for row in rows:  # the oldest first
        request = _request(row)
        if request is None:
            continue
        same = first.setdefault(fingerprint(row.queue_name, request), row.request_id)
        if same != row.request_id and row.request_id not in doors:
            yield Useless(row, f"the same waits already: {same}")


def _superseded(rows: Sequence[RequestRow], doors: dict[str, Row[Any]]) -> Iterator[Useless]:
    """Of pull requests: each push to a branch is tested."""
    newest: dict[tuple[str, ...], tuple[float, str, str]] = {}
    pushes = [
        row for row in rows if row.request_id in doors and _PULL.fullmatch(doors[row.request_id].subject)
    ]
    for row in pushes:
        (key, commit), created = _push(row, doors), doors[row.request_id].created
        newest[key] = max(newest.get(key, (0.0, "", "")), (created, row.request_id, commit))
    for row in pushes:
        key, commit = _push(row, doors)
        when, newer, newest_commit = newest[key]
        if commit != newest_commit and doors[row.request_id].created < when - _ONE_PUSH:
            yield Useless(row, f"a newer push is asked for: {newer}")


def _push(row: RequestRow, doors: dict[str, Row[Any]]) -> tuple[tuple[str, ...], str]:
    """What is tested, and its commit."""
    thing, _, commit = doors[row.request_id].subject.rpartition("@")
    test = str(row.parameters.get("testname") or "")
    return (thing, row.queue, row.package, test), commit


def _obsolete(rows: Sequence[RequestRow], archives: Archives) -> Iterator[Useless]:
    for row in rows:
        request = _request(row)
        if request is None or request.ppas or not request.triggers:
            continue
        trigger = archives.gone(request, row.queue_name.release)
        if trigger:
            yield Useless(row, f"{trigger} is not published any more")


def _request(row: RequestRow) -> TestRequest | None:
    """What is asked for; None if that is not known in full."""
    if not row.parameters or MASK in json.dumps(dict(row.parameters)):
        return None
    try:
        row.queue_name  # noqa: B018  raises for a queue that is none of ours
        return make_request(row.package, row.parameters)
    except RequestError:
        return None
