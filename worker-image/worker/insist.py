# SPDX-License-Identifier: AGPL-3.0-or-later
"""Doing something again until store and broker let us."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from testyard.errors import BrokerError, CancelledRun, SettingsError, StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds of the first and of the longest pause after a failure; each is twice the one before.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Insistence:
    """One job's patience; it ends when ``cancelled`` is set.

    ``private``: what the store says names container and package, so the log gets less of it.
    """

    def __init__(self, cancelled: threading.Event, *, private: bool) -> None:
        self._cancelled = cancelled
        self._private = private

    def __call__(self, action: Callable[[], T]) -> T:
        """The action's result, whenever it succeeds. Raises CancelledRun."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return action()
            # a settings error here is a file that is being replaced, such as an authority's certificate
            except (StoreError, BrokerError, SettingsError) as error:
                log.warning("%s; trying again", type(error).__name__ if self._private else error.brief)
                self.pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def pause(self, seconds: float) -> None:
        """Wait. Raises CancelledRun."""
        if self._cancelled.wait(seconds):
            raise CancelledRun("the worker was told to stop")
