# SPDX-License-Identifier: AGPL-3.0-or-later
"""``autopkgtest … -- null`` by itself, against the same through the worker until its result is told."""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from pathlib import Path

from tests.bench.figures import Figures
from tests.bench.ground import PACKAGES, QUEUES, Ground, ground
from tests.bench.standin import autopkgtest
from testyard.request import make_request

#: Seconds that the test itself takes.
LENGTHS = (0, 10)


def measure(folder: Path, runs: int) -> Figures:
    """Ratios and seconds, for a test of no length and one of 10 s; both sides in turn."""
    figures: Figures = {}
    with ground(folder) as place, place.worker(real=True, slots=1):
        _ours(place, 0)
        for length in LENGTHS:
            pairs = [(_bare(length), _ours(place, length)) for _ in range(runs)]
            bare, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
            figures |= {
                f"test of {length} s: bare, s": bare,
                f"test of {length} s: through the worker, s": ours,
                f"test of {length} s: ratio": statistics.median(b / a for a, b in pairs),
                f"test of {length} s: added, s": statistics.median(b - a for a, b in pairs),
            }
    return figures


def _bare(length: int) -> float:
    with tempfile.TemporaryDirectory(prefix="testyard-bare-") as folder:
        started = time.monotonic()
        autopkgtest(PACKAGES / "ty-slow", Path(folder), f"--env=TY_SECONDS={length}")
        return time.monotonic() - started


def _ours(place: Ground, length: int) -> float:
    seen = place.listen()
    started = time.monotonic()
    body = make_request("ty-slow", {"uuid": str(uuid.uuid4()), "env": [f"TY_SECONDS={length}"]}).body()
    place.channel.basic_publish("", str(QUEUES[0]), body)
    place.wait(lambda: place.listen() > seen, "the request is done")
    return time.monotonic() - started
