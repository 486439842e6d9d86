# SPDX-License-Identifier: AGPL-3.0-or-later
"""One builder at a time, of all processes of the machine."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from testyard.errors import CancelledRun

#: Seconds between two looks at a lock that another builder holds.
_LOOK = 0.2


@contextmanager
def locked(file: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold the file's lock; waits for it. Raises CancelledRun soon after ``cancelled`` says true, OSError."""
    with file.open("w") as lock:
        while not _try(lock):
            if cancelled():
                raise CancelledRun("the worker was told to stop")
            time.sleep(_LOOK)
        yield


def _try(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
