# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run: its id and order, its phases, and what its exit code means."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from testyard.errors import ResultError

_RUN_ID = re.compile(r"[0-9]{8}_[0-9]{6}(?:_[0-9a-f]{5})?@")


@dataclass(frozen=True, order=True)
class RunId:
    """``YYYYMMDD_HHMMSS_<5 hex digits>@``: UTC time of completion and a digest of the request.

    Ids of one (release, architecture, source) order as strings. ``@`` ends the id so that a
    listing with ``delimiter=@`` gives runs. The form without digits (before 2020) is read too.
    """

    text: str

    def __post_init__(self) -> None:
        if not _RUN_ID.fullmatch(self.text):
            raise ResultError(f"run id {self.text!r} is not YYYYMMDD_HHMMSS_xxxxx@")

    def __str__(self) -> str:
        return self.text

    @classmethod
    def make(cls, when: datetime, body: bytes, release: str, architecture: str) -> RunId:
        """The id of a run that ended at ``when`` (an aware time)."""
        digest = hashlib.sha1(
            body + architecture.encode() + release.encode(), usedforsecurity=False
        ).hexdigest()
        return cls(f"{when.astimezone(UTC):%Y%m%d_%H%M%S}_{digest[:5]}@")

    @property
    def time(self) -> datetime:
        """When the run was completed, UTC. Raises ResultError if no such time exists."""
        try:
            return datetime.strptime(self.text[:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        except ValueError as error:
            raise ResultError(f"run id {self.text!r} holds no valid time") from error


class Outcome(StrEnum):
    """What a run's exit code means to people."""

    PASS = "pass"  # noqa: S105  not a password
    NEUTRAL = "neutral"
    FAIL = "fail"
    TMPFAIL = "tmpfail"
    ERROR = "error"
    DENYLISTED = "denylisted"
    OTHERFAIL = "otherfail"


#: The exit code of a run that was not allowed.
DENYLISTED = 99

#: autopkgtest's exit codes (its manual page, "EXIT STATUS") and 99 for a run that was not allowed.
EXIT_CODES: dict[int, tuple[Outcome, str]] = {
    0: (Outcome.PASS, "all tests passed"),
    2: (Outcome.PASS, "passed; at least one test was skipped or is flaky"),
    4: (Outcome.FAIL, "at least one test failed"),
    6: (Outcome.FAIL, "at least one test failed and at least one was skipped"),
    8: (Outcome.NEUTRAL, "no tests in this package, or all were skipped"),
    12: (Outcome.FAIL, "the package is erroneous: it cannot be built, installed or read"),
    14: (Outcome.FAIL, "the package is erroneous and at least one test was skipped"),
    16: (Outcome.TMPFAIL, "the testbed failed"),
    20: (Outcome.ERROR, "autopkgtest failed unexpectedly, or was called wrongly"),
    DENYLISTED: (Outcome.DENYLISTED, "not run: the package or architecture is excluded"),
}


def outcome_of(exit_code: int) -> Outcome:
    """The outcome that an exit code stands for."""
    return EXIT_CODES.get(exit_code, (Outcome.OTHERFAIL, ""))[0]


def explain(exit_code: int) -> str:
    """One sentence without a full stop about an exit code."""
    return EXIT_CODES.get(exit_code, (Outcome.OTHERFAIL, f"unknown exit code {exit_code}"))[1]


class Phase(StrEnum):
    """The parts of a run's time. Each test's own phase is ``test`` with the test's name."""

    WAIT = "wait"
    TREE = "tree"
    TESTBED = "testbed"
    APT = "apt"
    BUILD = "build"
    INSTALL = "install"
    TEST = "test"
    FINISH = "finish"
    UPLOAD = "upload"


#: The year 9999 ends here; no page can tell a later time.
_LAST_TIME = 253402300799.0


def unix_time(value: Any) -> float:
    """Seconds as a number that pages can show. Raises ValueError, TypeError or OverflowError."""
    seconds = float(value)
    if not 0 <= seconds <= _LAST_TIME:  # also refuses what is no number
        raise ValueError(f"{value!r} is no time")
    return seconds


@dataclass(frozen=True)
class PhaseTime:
    """One phase as it went. ``started`` is Unix time, ``seconds`` None while it lasts."""

    phase: Phase
    started: float
    seconds: float | None = None
    test: str | None = None

    @property
    def label(self) -> str:
        """How pages and the terminal name it."""
        return f"{self.phase} {self.test}" if self.test else str(self.phase)

    def to_json(self) -> dict[str, str | float | None]:
        """As it stands in events and in ``testyard.json`` of a result."""
        return {
            "phase": str(self.phase),
            "started": self.started,
            "seconds": self.seconds,
            "test": self.test,
        }

    @classmethod
    def from_json(cls, value: object) -> PhaseTime:
        """Read one; raises ResultError if it is not of that form."""
        if not isinstance(value, dict):
            raise ResultError("a phase is not an object")
        try:
            seconds = value.get("seconds")
            test = value.get("test")
            return cls(
                phase=Phase(value["phase"]),
                started=unix_time(value["started"]),
                seconds=None if seconds is None else unix_time(seconds),
                test=None if test is None else str(test),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ResultError(f"a phase cannot be read: {error}") from error
