# SPDX-License-Identifier: AGPL-3.0-or-later
"""One run: verdict, facts, tests, time and log; and finding a run by any of its names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from testyard.errors import RequestError
from testyard.fields import request_id
from testyard.index import read
from testyard.run import Outcome, PhaseTime
from web import addresses, words
from web.log import Log, Section
from web.pages.page import BRIEFLY, FINISHED, NotFoundError, Page, Query
from web.views import RunView, run_views

_BARE_RUN_ID = re.compile(r"(?:^|/)[0-9]{8}_[0-9]{6}(?:_[0-9a-f]{5})?$")
_REFERENCE = re.compile(r"[A-Za-z0-9._+@/-]{1,400}")

#: The facts of a worker that have a name of their own on the page; others show under their key.
FACTS = {
    "worker": "worker",
    "testbed": "testbed",
    "virt_server": "test server",
    "kernel_version": "kernel",
    "cpu_model": "processor",
    "nproc": "processors",
}


#: Facts that the page tells elsewhere.
_SAID = ("cause", "note", "reproduce")


@dataclass(frozen=True)
class Bar:
    """A phase in the drawing of where time went: ``left`` and ``width`` in thousandths."""

    phase: PhaseTime
    left: float
    width: float


@dataclass(frozen=True)
class ShownLog:
    """The log as the page shows it, or ``problem``: the sentence in place of it."""

    log: Log = field(default_factory=lambda: Log(()))
    cut: bool = False
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class RunPage(Page):
    """The context of one run's page."""

    template: ClassVar[str] = "run.html"
    run: RunView
    shown: ShownLog = field(default_factory=ShownLog)

    @property
    def title(self) -> str:
        row = self.run.row
        what = f"{row.source} {self.run.version}".rstrip()
        return f"{row.outcome}: {what} on {row.release} {row.architecture}"

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        return words.verdict(self.run.row)

    @property
    def cause(self) -> str:
        """Why there was nothing to test; empty if the exit code tells it best."""
        return _fact(self.run.row.facts.get("cause") or "")

    @property
    def note(self) -> str:
        """What else the worker has to say of the run; empty if nothing."""
        return _fact(self.run.row.facts.get("note") or "")

    @property
    def reproduce(self) -> str:
        """The command that runs the test again; empty if it is not known."""
        return _fact(self.run.row.facts.get("reproduce") or "")

    @property
    def failure(self) -> Section | None:
        """Where the log tells of the first failure; None if the run had none."""
        # a name that no test has is an error to autopkgtest, and yet nothing failed
        ended_well = self.run.row.outcome in (Outcome.PASS, Outcome.NEUTRAL)
        return None if ended_well else self.shown.log.first_failure

    @property
    def package_page(self) -> str:
        """The path of the package's page."""
        return addresses.package(self.run.row.source)

    @property
    def history_page(self) -> str:
        """The path of the page with all runs of this package in this place."""
        row = self.run.row
        return addresses.history(row.source, row.release, row.architecture)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is known of worker and testbed, the well-known first."""
        facts = {key: value for key, value in self.run.row.facts.items() if key not in _SAID}
        known = [(name, facts[key]) for key, name in FACTS.items() if key in facts]
        others = [(key.replace("_", " "), facts[key]) for key in sorted(facts) if key not in FACTS]
        return tuple(
            (name, _fact(value)) for name, value in known + others if value not in (None, "", [], {})
        )

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The phases in order, to scale."""
        phases = sorted(
            (phase for phase in self.run.row.phases if phase.seconds is not None),
            key=lambda phase: phase.started,
        )
        whole = sum(phase.seconds or 0 for phase in phases) or 1.0
        bars, left = [], 0.0
        for phase in phases:
            width = 1000 * (phase.seconds or 0) / whole
            bars.append(Bar(phase, round(left, 1), round(width, 1)))
            left += width
        return tuple(bars)

    def to_json(self) -> dict[str, Any]:
        return self.run.to_json()


def _fact(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def run(query: Query) -> RunPage:
    """One run's page, without its log."""
    found = run_views(read.find_runs(query.index, str(query.run_path())), query.places)
    if not found:
        raise NotFoundError("There is no such run, or the index has not seen it yet.")
    return RunPage(run=found[0], cache=FINISHED)


@dataclass(frozen=True, kw_only=True)
class RunsPage(Page):
    """The context of ``/runs/{reference}``."""

    template: ClassVar[str] = "runs.html"
    reference: str
    runs: tuple[RunView, ...]

    @property
    def title(self) -> str:
        return f"Runs: {self.reference}"

    def to_json(self) -> dict[str, Any]:
        return {"runs": [view.to_json() for view in self.runs]}


def runs(query: Query) -> RunsPage:
    """The runs with this request id, run id or path."""
    reference = _canonical(query.names["reference"])
    found = run_views(read.find_runs(query.index, reference), query.places) if reference else ()
    if not found:
        raise NotFoundError("No run has this request id, run id or path (yet).")
    elsewhere = found[0].page if len(found) == 1 else None
    return RunsPage(reference=reference, runs=found, cache=BRIEFLY, elsewhere=elsewhere)


def _canonical(reference: str) -> str:
    if not _REFERENCE.fullmatch(reference):
        return ""
    try:
        return request_id("reference", reference) or ""
    except RequestError:
        return f"{reference}@" if _BARE_RUN_ID.search(reference) else reference
