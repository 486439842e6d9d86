# SPDX-License-Identifier: AGPL-3.0-or-later
"""How pages say outcomes, states, times and durations. Pure; templates use them as filters."""

from __future__ import annotations

from testyard.duration import duration_text
from testyard.index import RequestState, RunRow
from testyard.result import UNKNOWN
from testyard.run import Outcome

#: A sign beside each word, so that nothing is said by colour alone. None is drawn as an emoji.
SIGNS: dict[str, str] = {
    Outcome.PASS: "✓",
    Outcome.NEUTRAL: "○",
    Outcome.FAIL: "✗",
    Outcome.TMPFAIL: "!",
    Outcome.ERROR: "!",
    Outcome.DENYLISTED: "⊘",
    Outcome.OTHERFAIL: "✗",
    RequestState.QUEUED: "⋯",
    RequestState.RUNNING: "▸",
    RequestState.DONE: "✓",
    RequestState.REJECTED: "✗",
    RequestState.CANCELLED: "⊘",
    "PASS": "✓",
    "FAIL": "✗",
    "SKIP": "○",
    "FLAKY": "~",
}

_VERBS: dict[Outcome, str] = {
    Outcome.PASS: "passed",
    Outcome.NEUTRAL: "had nothing to test",
    Outcome.FAIL: "failed",
    Outcome.TMPFAIL: "could not be tested",
    Outcome.ERROR: "ended in an error of the test system",
    Outcome.DENYLISTED: "was not run",
    Outcome.OTHERFAIL: "failed in an unknown way",
}


def sign(word: str) -> str:
    """The sign of an outcome or state; a dot for an unknown one."""
    return SIGNS.get(word, "·")


def duration(seconds: float | None) -> str:
    """As everywhere (`duration_text`); a dash where none was measured."""
    return "—" if seconds is None else duration_text(seconds)


def count(number: int, noun: str) -> str:
    """``1 test``, ``2 tests``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def verdict(run: RunRow) -> str:
    """The outcome of a run in one sentence, naming the tests that failed."""
    what = f"{run.source} {run.version}" if run.version != UNKNOWN else run.source
    failed = [test.name for test in run.subtests if test.outcome == "FAIL"]
    reason = str(run.facts.get("cause") or run.explanation)
    if failed:
        named = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        reason = f"{len(failed)} of {count(len(run.subtests), 'test')} failed ({named})"
    elif run.exit_code == 0 and run.subtests:
        number = len(run.subtests)
        reason = "its one test passed" if number == 1 else f"all {number} tests passed"
    return f"{what} {_VERBS[run.outcome]} on {run.release} {run.architecture}: {reason}."
