# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the system costs, as ratios against a baseline of the same run (docs/performance.md).

The machine may be shared: compare ratios and CPU time, and nothing of two runs but these.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import drain, livelog, memory, own_cost, page, pick_up, synth, wall, webhook
from tests.bench.figures import Figures

#: Each with its number of runs; called with a folder and that number.
BENCHMARKS: dict[str, tuple[Callable[[Path, int], Figures], int]] = {
    "page": (page.measure, 5),
    "pick-up": (pick_up.measure, 100),
    "own-cost": (own_cost.measure, 200),
    "wall": (wall.measure, 5),
    "memory": (memory.measure, 1),
    "live-log": (livelog.measure, 60),
    "webhook": (webhook.measure, 5_000),
    "synth": (synth.measure, 5),
    "drain": (drain.measure, 10_000),
}
#: Takes half an hour: only when it is asked for.
LONG = ("drain",)


def main() -> None:
    """Print a table for each; ``--json`` for programs."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", action="append", choices=BENCHMARKS, help="may be given again; all but drain"
    )
    parser.add_argument(
        "--runs", type=int, help="runs, requests or seconds, in place of each one's own number"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, Figures] = {}
    for name in arguments.only or [name for name in BENCHMARKS if name not in LONG]:
        measure, runs = BENCHMARKS[name]
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="testyard-bench-") as folder:
            found[name] = {
                "load of the machine before": load,
                **measure(Path(folder), arguments.runs or runs),
            }
        if not arguments.json:
            show(name, found[name])
    if arguments.json:
        print(json.dumps(found, indent=2))


def show(name: str, figures: Figures) -> None:
    """A table for people."""
    table = Table(name, "", box=None, pad_edge=False)
    for figure, value in figures.items():
        table.add_row(figure, f"{value:.2f}" if abs(value) < 20 else f"{value:.0f}")
    Console().print(table, "")


if __name__ == "__main__":
    main()
