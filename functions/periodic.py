# SPDX-License-Identifier: AGPL-3.0-or-later
"""Something that a function does again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from testyard.errors import TestyardError

log = logging.getLogger(__name__)


#: Seconds after which what failed is tried again, if its interval is longer.
_PAUSE = 10.0


class Periodic:
    """Calls ``action`` every ``interval`` seconds; a failure is remembered until the next success."""

    def __init__(self, name: str, interval: float, action: Callable[[], None]) -> None:
        self.name = name
        self._interval = interval
        self.action = action
        self._stop = threading.Event()
        self.problem = ""

    def stop(self) -> None:
        """Ask the loop to end."""
        self._stop.set()

    def run(self) -> None:
        """Go on until `stop` is called."""
        while not self._stop.is_set():
            self._act()
            self._stop.wait(min(self._interval, _PAUSE) if self.problem else self._interval)

    def _act(self) -> None:
        try:
            self.action()
            self.problem = ""
        except TestyardError as error:
            self.problem = f"{self.name}: {error.brief}"
            log.warning("%s", self.problem)
        except Exception:  # the outermost place: a bug must not end the work for good
            self.problem = f"{self.name}: a bug; see the log"
            log.exception("%s: a bug; trying again", self.name)
