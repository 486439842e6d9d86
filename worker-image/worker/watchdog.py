# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ends runs that will not end by themselves."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from testyard.errors import LastingTestbedError, TestbedError
from testyard.settings import Timeouts

#: Seconds between two looks at the disk, and for how long it must be full. autopkgtest 5.28 crashes
#: on a full disk and then waits for ever for its own `tee`.
_LOOK = 1.0
_FULL_FOR = 5.0
_FULL = 1024 * 1024
#: Seconds beyond autopkgtest's longest own limit after which a silent run is dead.
_GRACE = 600.0


class Watchdog:
    """Looks after one run; ``heard`` is called whenever the run says something."""

    def __init__(self, folder: Path, timeouts: Timeouts) -> None:
        self._folder = folder
        self._silence = max(timeouts.model_dump(exclude={"run"}).values()) + _GRACE
        self._whole = timeouts.run
        self._started = time.monotonic()
        self._last_heard = self._last_room = self._last_look = time.monotonic()
        self.least_room = shutil.disk_usage(folder).free

    def heard(self) -> None:
        """The run lives."""
        self._last_heard = time.monotonic()

    def look(self) -> None:
        """Raises TestbedError if the run cannot end well any more. Notes ``least_room``, in bytes."""
        now = time.monotonic()
        room = shutil.disk_usage(self._folder).free
        self.least_room = min(self.least_room, room)
        if now - self._last_look < _LOOK:
            return
        self._last_look = now
        if room > _FULL:
            self._last_room = now
        elif now - self._last_room > _FULL_FOR:
            raise TestbedError(
                "the worker's disk is full: the run was ended",
                resolution="Make room on the worker's disk, or move worker.work_dir to a larger one.",
            )
        if now - self._last_heard > self._silence:
            raise TestbedError(f"autopkgtest was silent for {self._silence:.0f} s: the run was ended")
        if now - self._started > self._whole:
            raise LastingTestbedError(
                f"the run took longer than {self._whole} s in all: it was ended",
                resolution="Put the package on the list long_tests, or raise worker.timeouts.run.",
            )
