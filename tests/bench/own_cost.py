# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the worker itself costs: a stand-in test of no length, everything else real.

The baseline is a loop that writes the three objects of the same run to the same store and publishes
the same message to the same broker, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.bench.figures import Figures
from tests.bench.ground import CONTAINER, Ground, Use, ground
from testyard.adapters.amqp import Publisher

SLOTS = 16


def measure(folder: Path, runs: int) -> Figures:
    """CPU for each test, by who uses it; tests a second."""
    with ground(folder) as place, place.worker(slots=SLOTS) as pid:
        place.drain(SLOTS, packages=40)  # warm: connections, imports, containers
        ours = _measured(place, {"worker": pid}, runs, lambda: place.drain(runs, packages=40))
        bare = _measured(place, {}, runs, lambda: _bare(place, runs))
    store = ours["store"]
    everything = ours["worker"] + ours["its children"] + store + ours["broker"]
    return {
        "worker, CPU ms a test": ours["worker"],
        "its children (the stand-in, rm), CPU ms a test": ours["its children"],
        "store, CPU ms a test": store,
        "… as a multiple of three bare uploads": store / bare["store"],
        "broker, CPU ms a test": ours["broker"],
        "… as a multiple of one bare message": ours["broker"] / max(bare["broker"], 0.01),
        "the store's share of all CPU": store / everything,
        "tests a second": ours["rate"],
        "bare uploads and messages a second, one after the other": bare["rate"],
        "CPUs that all this used": ours["rate"] * everything / 1000,
        "CPUs that other work of the machine used meanwhile": ours["others"],
    }


def _measured(place: Ground, who: dict[str, int], runs: int, work: Callable[[], None]) -> Figures:
    who = {**who, "store": place.swift.pid, "broker": place.rabbit.pid}
    before = {name: Use.of_tree(found) for name, found in who.items()}
    machine = _busy()
    started = time.monotonic()
    work()
    seconds = time.monotonic() - started
    used = {name: Use.of_tree(found) - before[name] for name, found in who.items()}
    found: Figures = {}
    for name, use in used.items():
        if name == "worker":
            found |= {"worker": use.own / runs * 1000, "its children": use.children / runs * 1000}
        else:
            found[name] = (use.own + use.children) / runs * 1000
    mine = sum(use.own + use.children for use in used.values())
    return {**found, "rate": runs / seconds, "others": max(0.0, (_busy() - machine - mine) / seconds)}


def _busy() -> float:
    """CPU seconds that the machine has worked for."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _bare(place: Ground, runs: int) -> None:
    names = [name for name in place.store.names(CONTAINER) if "/package1/" in name][:3]
    contents = [place.store.get(CONTAINER, name) or b"" for name in names]
    with Publisher(place.rabbit.url) as publisher:
        for number in range(runs):
            for name, content in zip(("log.gz", "artifacts.tar.gz", "result.tar"), contents, strict=True):
                place.store.put(CONTAINER, f"bare/{number}/{name}", content)
            publisher.publish("amq.fanout", "", b"x" * 600)
