# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker that joins a running system from a folder and a settings file of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lxd import BRIDGE, lxd_server
from tests.system import TREES, joined_worker, running_system
from tests.trees import account


def test_a_worker_joins_runs_and_leaves(tmp_path: Path) -> None:
    settings = {"name": "external", "testbed": "null"}
    with (
        running_system(tmp_path / "state", {"testbed": "null"}) as system,
        joined_worker(system, tmp_path, settings) as joined,
    ):
        system.wait(lambda: "external" in system.worker_names(), seconds=30, what="it is there")
        (ours,) = system.worker_names() - {"external"}
        system.cli("worker", "drain", ours, "--reason", "the other one is to run it")
        run = system.run_of("ty-pass")
        assert (run["worker"]["worker"], run["outcome"]) == ("external", "pass")
        joined.send_signal(signal.SIGTERM)
        assert joined.wait(30) == 0
        assert "has left" in system.cli("worker", "list")


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(900)
def test_a_worker_with_a_lxd_host_and_another(tmp_path: Path) -> None:
    settings = {"name": "external", "testbed_user": account().name, "tree_dir": str(TREES)}
    with lxd_server() as lxd, running_system(tmp_path / "state", {"testbed": "null"}) as system:
        machines = {"name": "machines", "testbed": "lxd", "address": lxd.address, "subnet": f"{BRIDGE}/24"}
        with joined_worker(system, tmp_path, settings, machines, {"name": "here", "testbed": "chroot"}):
            system.wait(lambda: "external" in system.worker_names(), seconds=30, what="it is there")
            (ours,) = system.worker_names() - {"external"}
            system.cli("worker", "drain", ours)
            system.cli("worker", "drain", "external", "here")
            run = system.run_of("ty-pass")
            assert (run["outcome"], run["worker"]["host"]) == ("pass", "machines")
            assert run["worker"]["testbed"] == "lxd"
            assert lxd.instances() == {}
            system.cli("worker", "resume", "external", "here")
            system.cli("worker", "drain", "external", "machines")
            run = system.run_of("ty-pass")
            assert (run["outcome"], run["worker"]["testbed"]) == ("pass", "chroot")
