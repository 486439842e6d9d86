# SPDX-License-Identifier: AGPL-3.0-or-later
"""The system's price: request → page against bare autopkgtest, pick-up latency, idle memory.

Both sides test the same package with the same root tree on the same machine, in turn; what is
printed is ratios and medians of one run. The machine may be shared: compare nothing else.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests import trees
from tests.bench.figures import Figures
from tests.system import System, running_system
from testyard.local import supervisor
from worker.testbed.account import Account

PACKAGE = "gzip"


def measure(folder: Path, runs: int) -> Figures:
    """All figures: seconds, MB, and the ratio."""
    with running_system(folder / "state", {"testbed": "unshare"}) as system:
        return _measure(system, runs)


def _measure(system: System, runs: int) -> Figures:
    account, tree = trees.account(), trees.machine_tree()
    bare, ours, latency = [], [], []
    system.run_of(PACKAGE)  # warm: page cache, first connections
    bare_run(account, tree, system.state.release)
    for _ in range(runs):
        bare.append(bare_run(account, tree, system.state.release))
        seconds, wait = our_run(system)
        ours.append(seconds)
        latency.append(wait)
    figures = {
        "bare autopkgtest, s": statistics.median(bare),
        "request to page, s": statistics.median(ours),
        "ratio": statistics.median(b / a for a, b in zip(bare, ours, strict=True)),
        "beyond 1.05 x bare, s": statistics.median(b - 1.05 * a for a, b in zip(bare, ours, strict=True)),
        "pick-up (publish to testbed start), s": statistics.median(latency),
    }
    time.sleep(15)  # the store's housekeeper loads 10 s after its start
    for part in supervisor.status(system.state):
        figures[f"idle memory {part.name}, MB"] = part.rss_bytes / 1e6
    return figures


def bare_run(account: Account, tree: Path, release: str) -> float:
    """autopkgtest alone, as the account would call it; seconds."""
    with tempfile.TemporaryDirectory(prefix="testyard-bare-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        work = home / "work"
        work.mkdir()
        account.give(work)
        copy = home / "tree.tar"
        copy.write_bytes(tree.read_bytes())
        command = [
            "autopkgtest",
            f"--output-dir={work}/out",
            "--apt-upgrade",
            PACKAGE,
            "--",
            "unshare",
            f"--release={release}",
            f"--tarball={copy}",
        ]
        started = time.monotonic()
        with (work / "console").open("wb") as console:
            account.give(work / "console")
            subprocess.run(
                account.argv(*command),
                stdout=console,
                stderr=console,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(work), "TMPDIR": str(work)},
                check=True,
            )
        seconds = time.monotonic() - started
        account.remove_tree(work)
    return seconds


def our_run(system: System) -> tuple[float, float]:
    """From before the request is published until its page shows the result; and the pick-up latency."""
    sent = time.time()
    started = time.monotonic()
    request_id = system.publish(PACKAGE)
    while not _on_the_page(system, request_id):
        time.sleep(0.02)
    seconds = time.monotonic() - started
    run = system.get(f"/runs/{request_id}.json").json()["runs"][0]
    testbed = next(phase for phase in run["phases"] if phase["phase"] == "testbed")
    return seconds, testbed["started"] - sent


def _on_the_page(system: System, request_id: str) -> bool:
    page = system.get(f"/runs/{request_id}")
    return page.status_code == 200 and "simple-gzip" in page.text
