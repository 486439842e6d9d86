# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the terminal shows runs. A run is the object that the site's JSON has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Run = Mapping[str, Any]

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
    """``12.3 s``, ``4 min 05 s``; empty if unknown."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def print_run(run: Run, console: Console) -> None:
    """A summary: outcome, tests, where time went, addresses."""
    console.print()
    head = Text(f"{run['source']} {run['version']} on {run['release']} {run['architecture']}: ")
    console.print(head + outcome_text(str(run["outcome"])) + Text(f" ({run['explanation']})"))
    console.print()
    if run["tests"]:
        console.print(_tests(run["tests"]))
        console.print()
    if run["phases"]:
        console.print(_phases(run["phases"]))
        console.print()
    for label, value in _facts(run):  # no table: an address must stay in one piece
        console.print(f"{label:<10} {value}", markup=False, highlight=False)


def _facts(run: Run) -> list[tuple[str, str]]:
    pairs = [
        ("run", run["run_id"]),
        ("request", run["request_id"] or ""),
        ("triggers", " ".join(run["triggers"])),
        ("exit code", str(run["exit_code"])),
        ("page", run["urls"]["page"]),
        ("log", run["urls"]["log"]),
        ("artifacts", run["urls"]["artifacts"]),
    ]
    return [(label, str(value)) for label, value in pairs if value]


def _tests(tests: Sequence[Run]) -> Table:
    table = Table("test", "outcome", "time", "reason", box=None, pad_edge=False)
    for test in tests:
        table.add_row(
            Text(test["name"]),
            outcome_text(test["outcome"]),
            seconds_text(test["seconds"]),
            Text(test["reason"]),
        )
    return table


def _phases(phases: Sequence[Run]) -> Table:
    total = sum(phase["seconds"] or 0 for phase in phases) or 1
    table = Table("where time went", "time", "", box=None, pad_edge=False)
    for phase in phases:
        seconds = phase["seconds"] or 0
        label = " ".join(str(phase[key]) for key in ("phase", "test") if phase.get(key))
        table.add_row(Text(label), seconds_text(seconds), "█" * round(30 * seconds / total))
    return table


def print_runs(runs: Sequence[Run], console: Console) -> None:
    """A table of runs."""
    table = Table(
        "completed", "release", "arch", "version", "outcome", "time", "run", box=None, pad_edge=False
    )
    for run in runs:
        table.add_row(
            str(run["completed"])[:16].replace("T", " "),
            run["release"],
            run["architecture"],
            Text(run["version"]),
            outcome_text(run["outcome"]),
            seconds_text(run["duration"]),
            run["run_id"],
        )
    console.print(table)
