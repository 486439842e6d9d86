# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many queued requests of eight queues, drained by one worker with a stand-in test."""

from __future__ import annotations

import collections
import time
from pathlib import Path

import psutil

from tests.bench.figures import Figures
from tests.bench.ground import CONTAINER, Ground, ground
from testyard.store import RESULT

SLOTS = 16
PACKAGES = 500
#: Percent of the requests that are done when memory is looked at.
LOOKS = (10, 50, 100)


def measure(folder: Path, runs: int) -> Figures:
    """Lost, doubled, tests a second, memory."""
    with ground(folder) as place:
        return drained(place, runs)


def drained(place: Ground, runs: int) -> Figures:
    """The same on servers that are there."""
    memory: Figures = {}
    before = _results(place)
    with place.worker(slots=SLOTS) as pid:
        worker = psutil.Process(pid)

        def look(done: int) -> None:
            for percent in LOOKS:
                name = f"memory at {percent} %, MB"
                if done * 100 >= percent * runs and name not in memory:
                    memory[name] = worker.memory_info().rss / 1e6

        started = time.monotonic()
        sent = place.drain(runs, packages=PACKAGES, look=look)
        seconds = time.monotonic() - started
        place.wait(lambda: not place.waiting(), "no request waits")
    place.listen()  # the worker has ended: nobody tells any more
    told = collections.Counter(message["uuid"] for message in place.completed)
    stored = _results(place) - before
    return {
        "requests": runs,
        "lost": len(sent - set(told)),
        "told twice": sum(count > 1 for count in told.values()),
        "results beyond one each": stored - runs,
        "tests a second": runs / seconds,
        **memory,
    }


def _results(place: Ground) -> int:
    return sum(name.endswith(f"/{RESULT}") for name in place.store.names(CONTAINER))
