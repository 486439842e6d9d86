# SPDX-License-Identifier: AGPL-3.0-or-later
"""From publishing a request to the start of its testbed, on an idle worker; the claim is on disk then."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.figures import Figures, spread
from tests.bench.ground import CONTAINER, QUEUES, Ground, ground
from testyard.result import read_result_tar
from testyard.store import RESULT


def measure(folder: Path, runs: int) -> Figures:
    """Milliseconds; beside them what one message and one object take by themselves."""
    with ground(folder) as place, place.worker(slots=4):
        _one(place, 0)
        found = [_one(place, number) for number in range(runs)]
        bare = [_bare(place, number) for number in range(runs)]
    times = spread("publish to testbed start", found)
    alone = spread("a message there and back, and one object, by themselves", bare)
    ratio = next(iter(times.values())) / next(iter(alone.values()))
    return {**times, **alone, "ratio of the medians": ratio}


def _one(place: Ground, number: int) -> float:
    seen = place.listen()
    sent = time.time()
    place.publish(QUEUES[number % len(QUEUES)])
    place.wait(lambda: place.listen() > seen, "the request is done")
    path = place.completed[-1]["swift_dir"]
    result = read_result_tar(place.store.get(CONTAINER, f"{path}/{RESULT}") or b"")
    time.sleep(0.3)  # the worker has settled it
    return next(phase.started for phase in result.phases if phase.phase == "testbed") - sent


def _bare(place: Ground, number: int) -> float:
    queue = str(place.channel.queue_declare("", exclusive=True, auto_delete=True).method.queue)
    started = time.monotonic()
    place.channel.basic_publish("", queue, b"x" * 100)
    while place.channel.basic_get(queue, auto_ack=True)[0] is None:
        pass
    place.store.put(CONTAINER, f"bare/{number}", b"x" * 500)
    return time.monotonic() - started
