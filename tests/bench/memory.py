# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a worker with 100 slots takes of memory, idle and busy."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.bench.figures import Figures
from tests.bench.ground import QUEUES, ground

SLOTS = 100


def measure(folder: Path, runs: int) -> Figures:
    """MB of resident memory of the worker's process; ``runs`` rounds of 100 tests."""
    with ground(folder) as place, place.worker(slots=SLOTS) as pid:
        worker = psutil.Process(pid)
        idle = worker.memory_info().rss / 1e6
        for number in range(SLOTS):
            place.publish(QUEUES[number % len(QUEUES)], f"sleep{40 + number % 10}")
        place.wait(lambda: len(worker.children()) == SLOTS, "all slots are busy", 120)
        busy = worker.memory_info().rss / 1e6
        place.wait(lambda: place.listen() == SLOTS, "all are done", 180)
        time.sleep(2)
        after = worker.memory_info().rss / 1e6
    return {
        f"{SLOTS} idle slots, MB in all": idle,
        f"{SLOTS} busy slots, MB in all": busy,
        "a busy slot, MB": (busy - idle) / SLOTS,
        f"{SLOTS} slots after {SLOTS} tests, idle again, MB in all": after,
    }
