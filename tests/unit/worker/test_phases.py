# SPDX-License-Identifier: AGPL-3.0-or-later
"""Phases from autopkgtest's log, however it is cut into pieces and whatever a test prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from testyard.run import Phase, PhaseTime
from worker.phases import PhaseTracker

DEBIAN = b"""autopkgtest [02:06:49]: starting date and time: 2026-01-02 02:06:49+0000
autopkgtest [02:06:49]: @@@@@@@@@@@@@@@@@@@@ unbuilt-tree pk/sample/
autopkgtest [02:06:50]: testing package sample version 1.0-1
autopkgtest [02:06:50]: build not needed
autopkgtest [02:06:50]: test first: preparing testbed
autopkgtest [02:06:50]: test first: [-----------------------
autopkgtest [25:99]: test second: [-----------------------
 autopkgtest [02:06:50]: test second: [-----------------------
second: [-----------------------
autopkgtest [02:06:50]: test first: -----------------------]
autopkgtest [02:06:50]: test first:  - - - - - - - - - - results - - - - - - - - - -
first                PASS
autopkgtest [02:06:51]: test command2: preparing testbed
autopkgtest [02:06:51]: test command2: [-----------------------
autopkgtest [02:06:52]: test command2: -----------------------]
autopkgtest [02:06:52]: @@@@@@@@@@@@@@@@@@@@ summary
"""
UBUNTU = b"\n".join(
    b"%3ds %s" % (number, line) if line.startswith(b"autopkgtest") else line
    for number, line in enumerate(DEBIAN.split(b"\n"))
)
EXPECTED = [
    "apt",
    "build",
    "install first",
    "test first",
    "finish",
    "install command2",
    "test command2",
    "finish",
]


class Watched:
    """A tracker with a clock of its own: each look at it takes a second."""

    def __init__(self) -> None:
        self.changes: list[PhaseTime] = []
        self._ticks: Iterator[int] = iter(range(100, 10**7))
        self.tracker = PhaseTracker(self.changes.append, lambda: float(next(self._ticks)))

    def labels(self) -> list[str]:
        return [phase.label for phase in self.tracker.phases]


@pytest.mark.parametrize("log", [DEBIAN, UBUNTU], ids=["debian", "ubuntu"])
def test_phases_are_the_same_wherever_the_log_is_split(log: bytes) -> None:
    for cut in range(len(log) + 1):
        watched = Watched()
        watched.tracker.feed(log[:cut])
        watched.tracker.feed(log[cut:])
        assert watched.labels() == EXPECTED, cut


def test_byte_by_byte() -> None:
    watched = Watched()
    for number in range(len(DEBIAN)):
        watched.tracker.feed(DEBIAN[number : number + 1])
    assert watched.labels() == EXPECTED


def test_each_change_is_told_in_order_and_the_times_add_up() -> None:
    now = [50.0]
    changes: list[PhaseTime] = []
    tracker = PhaseTracker(changes.append, lambda: now[0])
    tracker.add(PhaseTime(Phase.WAIT, 10.0, 40.0))
    tracker.enter(Phase.TREE)
    for line in DEBIAN.splitlines(keepends=True):
        now[0] += 1.5
        tracker.feed(line)
    tracker.close()
    tracker.close()
    told = [(change.label, change.seconds is None) for change in changes]
    labels = ["tree", *EXPECTED]
    assert told == [("wait", False), *((label, opened) for label in labels for opened in (True, False))]
    done = tracker.phases
    assert sum(phase.seconds or 0 for phase in done) == now[0] - 10
    for one, following in itertools.pairwise(done):
        assert one.started + (one.seconds or 0) == following.started


def test_the_running_phase_is_current_and_has_no_seconds() -> None:
    watched = Watched()
    assert watched.tracker.current == ""
    watched.tracker.feed(DEBIAN[: DEBIAN.index(b"autopkgtest [25")])
    assert watched.tracker.current == "test first"
    assert watched.tracker.phases[-1].seconds is None


def test_entering_the_running_phase_again_changes_nothing() -> None:
    watched = Watched()
    watched.tracker.enter(Phase.TESTBED)
    before = watched.tracker.phases
    watched.tracker.enter(Phase.TESTBED)
    assert watched.tracker.phases == before
    assert len(watched.changes) == 1


def test_an_overlong_line_hides_nothing_and_is_nothing() -> None:
    watched = Watched()
    own = b"autopkgtest [02:06:49]: @@@@@@@@@@@@@@@@@@@@ summary"
    for _ in range(40):
        watched.tracker.feed(b"x" * 5000)
        watched.tracker.feed(own)  # in the middle of a line: not autopkgtest's
    assert watched.labels() == []
    watched.tracker.feed(b"\n" + own + b" " + b"y" * 9000)
    assert watched.labels() == []
    watched.tracker.feed(b"\n")
    assert watched.labels() == ["finish"]


def test_a_flood_of_fake_lines_makes_no_flood_of_phases() -> None:
    """A result with a hundred thousand phases could not be read back."""
    watched = Watched()
    name = b"n" * 3000
    lines = b"".join(
        b"autopkgtest [00:00:00]: test %s%d: preparing testbed\n" % (name, number % 2)
        for number in range(5000)
    )
    watched.tracker.feed(lines.replace(b"0: preparing", b"\xff: preparing"))
    watched.tracker.feed(
        b"autopkgtest [00:00:00]: test a: [----\nautopkgtest [00:00:00]: test a: ----]\n" * 5000
    )
    assert len(watched.tracker.phases) <= 1001
    assert all(len(phase.label) < 300 for phase in watched.tracker.phases)
    watched.tracker.enter(Phase.UPLOAD)  # the worker's own are never refused
    assert watched.labels()[-1] == "upload"
