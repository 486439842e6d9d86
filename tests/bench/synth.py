# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the settings of 50 LXD hosts to terraform's files: by Python alone, and by the cdktf command line."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from infra.settings.load import STAGES
from tests.bench.figures import Figures

ROOT = Path(__file__).parents[2]
HOSTS = 50
CDKTF = ROOT / "node_modules" / ".bin" / "cdktf"


def measure(folder: Path, runs: int) -> Figures:
    """Seconds, the median of ``runs``; the command line only where `npm ci` has put it."""
    stage = folder / "fifty.toml"
    text = (STAGES / "staging.toml").read_text()
    stage.write_text(text.replace("count = 2", f"count = {HOSTS}"))
    environment = {
        **os.environ,
        "TESTYARD_STAGE": str(stage),
        "CHECKPOINT_DISABLE": "1",
        "VIRTUAL_ENV": sys.prefix,
    }
    found = {
        "hosts": float(HOSTS),
        "python -m infra, s": _median([sys.executable, "-m", "infra"], folder / "a", environment, runs),
    }
    if CDKTF.exists():
        argv = [str(CDKTF), "synth", "--output", str(folder / "b")]
        found["cdktf synth, s"] = _median(argv, folder / "b", environment, runs)
    return found


def _median(argv: list[str], outdir: Path, environment: dict[str, str], runs: int) -> float:
    taken = []
    for _ in range(runs):
        begin = time.monotonic()
        subprocess.run(
            argv, cwd=ROOT, env={**environment, "CDKTF_OUTDIR": str(outdir)}, check=True, capture_output=True
        )
        taken.append(time.monotonic() - begin)
    hosts = (outdir / "stacks" / "lxd-hosts-north" / "cdk.tf.json").read_text().count('"kind=lxd-host"')
    assert hosts == HOSTS, hosts
    return statistics.median(taken)
