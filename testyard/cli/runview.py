# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run as the terminal shows it, from what the site's JSON has for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from testyard.cli.terminal import safe_text
from testyard.duration import age_text, duration_text
from testyard.result import UNKNOWN
from testyard.store import archive_of

Run = Mapping[str, Any]

#: From this width on a table of runs has room for triggers.
_WIDE = 120

_STYLES = {
    "pass": "green",
    "PASS": "green",
    "neutral": "cyan",
    "SKIP": "cyan",
    "FLAKY": "yellow",
    "fail": "red",
    "FAIL": "red",
    "tmpfail": "yellow",
}


def outcome_text(outcome: str) -> Text:
    """The outcome's word, coloured."""
    return Text(outcome, style=f"bold {_STYLES.get(outcome, 'magenta')}")


def seconds_text(seconds: float | None) -> str:
    """A duration as everywhere; empty if unknown."""
    return "" if seconds is None else duration_text(seconds)


def place(item: Run) -> str:
    """Where a run or request belongs: release and architecture, and the context if it is a special one."""
    names = [item["release"], item["architecture"]]
    context = item.get("context")
    where = " ".join(names) if all(names) else str(item.get("queue", ""))
    return f"{where} ({context})" if context and context != "ubuntu" else where


def phase_label(phase: Run) -> str:
    """``test smoke``, ``build``; a test's name is its package's text."""
    return safe_text(" ".join(str(phase[key]) for key in ("phase", "test") if phase.get(key)))


def print_run(run: Run, console: Console) -> None:
    """A summary: outcome, tests, where time went, addresses."""
    console.print()
    version = "" if run["version"] == UNKNOWN else f" {run['version']}"
    head = Text(f"{run['source']}{version} on {run['release']} {run['architecture']}: ")
    cause = _told(run, "cause") or str(run["explanation"])
    console.print(head + outcome_text(str(run["outcome"])) + Text(f" ({safe_text(cause)})"))
    if note := _told(run, "note"):
        console.print(Text(safe_text(note), style="yellow"))
    console.print()
    if run["tests"]:
        console.print(_tests(run["tests"]))
        console.print()
    if run["phases"]:
        console.print(phases_table(run["phases"]))
        console.print()
    for label, value in _facts(run):  # no table: an address must stay in one piece
        console.print(f"{label:<10} {value}", markup=False, highlight=False)


def _told(run: Run, key: str) -> str:
    """What the worker said of the run under ``key``; empty if nothing."""
    return str((run.get("worker") or {}).get(key) or "")


def _facts(run: Run) -> list[tuple[str, str]]:
    pairs = [
        ("run", run["run_id"]),
        ("request", run["request_id"] or ""),
        ("archive", archive_of(run.get("container") or "", run["release"])),
        ("triggers", " ".join(run["triggers"])),
        ("exit code", f"{run['exit_code']}" + ("" if _told(run, "cause") else f": {run['explanation']}")),
        ("run again", f"testyard reproduce {run['run_id']}" if _told(run, "reproduce") else ""),
        ("page", run["urls"]["page"]),
        ("log", run["urls"]["log"]),
        ("artifacts", run["urls"]["artifacts"]),
    ]
    return [(label, safe_text(str(value))) for label, value in pairs if value]


def _tests(tests: Sequence[Run]) -> Table:
    table = Table("test", "outcome", "took", "reason", box=None, pad_edge=False)
    for test in tests:
        table.add_row(
            Text(safe_text(test["name"])),
            outcome_text(test["outcome"]),
            seconds_text(test["seconds"]),
            Text(safe_text(test["reason"])),
        )
    return table


def phases_table(phases: Sequence[Run], now: float | None = None) -> Table:
    """Phases to scale; ``now`` (Unix seconds) ends the one that lasts."""
    table = Table("where time went", "took", "", box=None, pad_edge=False)
    lasted = [
        phase["seconds"] if phase["seconds"] is not None or now is None else now - phase["started"]
        for phase in phases
    ]
    total = sum(seconds or 0 for seconds in lasted) or 1
    for phase, seconds in zip(phases, lasted, strict=True):
        words = seconds_text(seconds)
        if now is not None and phase["seconds"] is None:
            words = f"{seconds_text(int(seconds))} so far"
        table.add_row(Text(phase_label(phase)), words, "█" * round(30 * (seconds or 0) / total))
    return table


def _archive(run: Run) -> str:
    return archive_of(run.get("container") or "", run["release"])


def _triggers(run: Run) -> str:
    found = run["triggers"]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return safe_text(f"{found[0][:40]}{more}") if found else ""


def print_runs(runs: Sequence[Run], console: Console) -> None:
    """A table of runs; a run id in it is never cut. Triggers stand in it where there is room."""
    now = time.time()
    archives = any(_archive(run) for run in runs)
    triggers = console.width >= _WIDE and any(run["triggers"] for run in runs)
    columns = ["outcome", "version", "where", *(["archive"] if archives else []), "took", "completed", "run"]
    table = Table(*columns, *(["triggers"] if triggers else []), box=None, pad_edge=False)
    for run in runs:
        table.add_row(
            outcome_text(run["outcome"]),
            "" if run["version"] == UNKNOWN else Text(run["version"]),
            f"{run['release']} {run['architecture']}",
            *([_archive(run)] if archives else []),
            seconds_text(run["duration"]),
            age_text(datetime.fromisoformat(run["completed"]).timestamp(), now),
            run["run_id"],
            *([Text(_triggers(run))] if triggers else []),
        )
    console.print(table)
