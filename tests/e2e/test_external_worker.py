# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker that joins a running system from a folder and a settings file of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.system import PACKAGES, System, running_system
from testyard.local.toml import render_toml


def names(system: System) -> set[str]:
    found = json.loads(system.cli("worker", "list", "--json"))["workers"]
    return {worker["name"] for worker in found}


def test_a_worker_joins_runs_and_leaves(tmp_path: Path) -> None:
    with running_system(tmp_path / "state", {"testbed": "null"}) as system:
        given = tomllib.loads(system.state.settings_file.read_text())
        worker = {
            "name": "external",
            "testbed": "null",
            "work_dir": str(tmp_path / "work"),
            "source_dir": str(PACKAGES),
        }
        config = tmp_path / "worker.toml"
        config.touch(mode=0o600)
        config.write_text(
            render_toml({key: given[key] for key in ("broker", "store", "topology")} | {"worker": worker})
        )
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
        with (tmp_path / "log").open("wb") as log:
            joined = subprocess.Popen(
                [sys.executable, "-m", "testyard", "worker", "run", "--config", str(config)],
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            system.wait(lambda: "external" in names(system), seconds=30, what="it is there")
            (ours,) = names(system) - {"external"}
            system.cli("worker", "drain", ours, "--reason", "the other one is to run it")
            run = system.run_of("ty-pass")
            assert (run["worker"]["worker"], run["outcome"]) == ("external", "pass")
            joined.send_signal(signal.SIGTERM)
            assert joined.wait(30) == 0
            assert "leaves when its runs have ended" in system.cli("worker", "list")
        finally:
            joined.kill()
            joined.wait()
