# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a run's time goes: autopkgtest's own log lines, as they come, turned into phases."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from testyard.run import Phase, PhaseTime

#: A line of autopkgtest's own: ``autopkgtest [12:34:56]: …``; Ubuntu's version puts the elapsed
#: seconds before it.
_OWN = re.compile(rb"^(?: *\d+s )?autopkgtest \[\d\d:\d\d:\d\d\]: (.*)$")
_PREPARING = re.compile(rb"test (\S+): preparing testbed")
_STARTS = re.compile(rb"test (\S+): \[-----")
_ENDS = re.compile(rb"test (\S+): -----.*\]$")
_STEPS: tuple[tuple[re.Pattern[bytes], Phase], ...] = (
    (re.compile(rb"@+ apt-source "), Phase.APT),
    (re.compile(rb"@+ (?:unbuilt-tree|built-tree|source|git-source) "), Phase.APT),
    (re.compile(rb"build (?:not )?needed"), Phase.BUILD),
    (re.compile(rb"@+ summary"), Phase.FINISH),
)

#: A longer line is cut: the rest is of no use to finding phases.
_LONGEST_LINE = 4096

#: A test may print autopkgtest's lines by the million: what is beyond is told as part of the last phase.
_MOST = 1000
_LONGEST_NAME = 200


class PhaseTracker:
    """Closes one phase and opens the next; tells ``on_change`` both."""

    def __init__(
        self, on_change: Callable[[PhaseTime], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._done: list[PhaseTime] = []
        self._open: PhaseTime | None = None
        self._rest = b""

    @property
    def phases(self) -> tuple[PhaseTime, ...]:
        """All phases so far, the running one without seconds."""
        return (*self._done, *([self._open] if self._open else []))

    @property
    def current(self) -> str:
        """The running phase's label."""
        return self._open.label if self._open else ""

    def add(self, phase: PhaseTime) -> None:
        """Enter a phase that is over already."""
        self._done.append(phase)
        self._on_change(phase)

    def enter(self, phase: Phase, test: str | None = None) -> None:
        """The next phase begins now."""
        if self._open and (self._open.phase, self._open.test) == (phase, test):
            return
        self.close()
        self._open = PhaseTime(phase, self._clock(), None, test)
        self._on_change(self._open)

    def close(self) -> None:
        """The running phase ends now."""
        if self._open is not None:
            done = PhaseTime(
                self._open.phase, self._open.started, self._clock() - self._open.started, self._open.test
            )
            self._open = None
            self.add(done)

    def feed(self, output: bytes) -> None:
        """Look at the next piece of the log."""
        *lines, rest = (self._rest + output).split(b"\n")
        self._rest = rest[:_LONGEST_LINE]
        for line in lines:
            own = _OWN.match(line[:_LONGEST_LINE])
            if own:
                self._own_line(own[1])

    def _own_line(self, text: bytes) -> None:
        if len(self._done) >= _MOST:
            return
        for pattern, phase in ((_PREPARING, Phase.INSTALL), (_STARTS, Phase.TEST)):
            match = pattern.match(text)
            if match:
                self.enter(phase, match[1].decode(errors="replace")[:_LONGEST_NAME])
                return
        if _ENDS.match(text):
            self.enter(Phase.FINISH)
            return
        for pattern, phase in _STEPS:
            if pattern.match(text):
                self.enter(phase)
                return
