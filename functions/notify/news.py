# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run is news of: compared with the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from functions.notify.rules import Kind
from testyard.event import CompletionMessage
from testyard.index import RunRow
from testyard.index.read import package_runs
from testyard.intake.report import plain
from testyard.request import MIGRATION_REFERENCE
from testyard.run import Outcome, explain, outcome_of
from testyard.store import archive_of

_GOOD = (Outcome.PASS, Outcome.NEUTRAL)
_BAD = (Outcome.FAIL,)
#: Runs among which the one before is looked for.
_RUNS = 200


@dataclass(frozen=True)
class News:
    """A run, and what it is news of; ``before`` is the run that it was compared with."""

    kind: Kind
    message: CompletionMessage
    before: RunRow | None

    @property
    def of_run(self) -> dict[str, str]:
        """What rules ask of a run."""
        message = self.message
        return {
            "package": message.package,
            "release": message.release,
            "architecture": message.architecture,
            "archive": archive_of(message.container, message.release),
            "requester": message.requester or "",
        }


def news_of(connection: Connection, message: CompletionMessage) -> News:
    """Compare a public run with the one before it of the same container, release and architecture.

    Left out are runs that say nothing of the package: references, and those whose testbed failed.
    Raises ResultError if the message names no run.
    """
    outcome, before = outcome_of(message.exitcode), None
    if outcome in (*_GOOD, *_BAD) and not _is_reference((message.triggers or "").split()):
        before = _before(connection, message)
    kind = Kind.ALL
    if before is not None and outcome in _BAD and before.outcome in _GOOD:
        kind = Kind.REGRESSION
    if before is not None and outcome in _GOOD and before.outcome in _BAD:
        kind = Kind.FIX
    return News(kind, message, before)


def _before(connection: Connection, message: CompletionMessage) -> RunRow | None:
    run_id = str(message.path.run_id)
    runs = package_runs(
        connection, message.package, release=message.release, architecture=message.architecture, limit=_RUNS
    )
    return next(
        (
            run
            for run in runs
            if run.run_id < run_id
            and run.container == message.container
            and run.outcome in (*_GOOD, *_BAD)
            and not _is_reference(run.triggers)
        ),
        None,
    )


def _is_reference(triggers: list[str] | tuple[str, ...]) -> bool:
    return MIGRATION_REFERENCE in triggers


def body_of(news: News, site: str) -> dict[str, Any]:
    """What is told, as JSON: for webhooks as it is, and with a title and a text for people."""
    message, path = news.message, news.message.path
    place = f"{message.release}/{message.architecture}"
    archive = archive_of(message.container, message.release)
    head = str(outcome_of(message.exitcode)) if news.kind is Kind.ALL else str(news.kind)
    where = f"/packages/{_quoted(path.source)}/{_quoted(place)}/{_quoted(str(path.run_id))}"
    triggers = [plain(trigger, 200) for trigger in (message.triggers or "").split()[:20]]
    data: dict[str, Any] = {
        "kind": str(news.kind),
        "package": path.source,
        "version": plain(message.testpkg_version, 200),
        "release": path.release,
        "architecture": path.architecture,
        "archive": archive,
        "outcome": str(outcome_of(message.exitcode)),
        "exit_code": message.exitcode,
        "triggers": triggers,
        "requester": plain(message.requester or "", 200),
        "run_id": str(path.run_id),
        "request_id": plain(message.uuid or "", 100),
        "before": str(news.before.outcome) if news.before else "",
        "url": f"{site.rstrip('/')}{where}" if site else "",
    }
    title = plain(f"{head}: {path.source} {data['version']} on {place}", 200)
    lines = [f"{explain(message.exitcode)}."]
    if news.before:
        before = news.before
        lines.append(f"Before, on {_day(before)}: {plain(before.version, 200)}, {before.outcome}.")
    if archive:
        lines.append(f"With the archive {archive}.")
    if triggers:
        lines.append(f"Triggers: {', '.join(triggers)}.")
    if data["requester"]:
        lines.append(f"Asked for by {data['requester']}.")
    if data["url"]:
        lines.append(str(data["url"]))
    return {"data": data, "title": title, "text": "\n".join(lines)}


def _day(run: RunRow) -> str:
    return datetime.fromtimestamp(run.completed, UTC).strftime("%Y-%m-%d")


def _quoted(path: str) -> str:
    return quote(path, safe="/@+:~")
