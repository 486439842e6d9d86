# SPDX-License-Identifier: AGPL-3.0-or-later
"""The default testbed when its worker ends: no process and no file of it stays, one result comes."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system import System, running_system
from tests.trees import machine_tree
from testyard.local import keeper


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    machine_tree()  # before a worker is killed in the midst of things, not after
    folder = tmp_path_factory.mktemp("testbed")
    settings = {"testbed": "unshare", "tree_dir": str(folder / "trees")}
    with running_system(folder / "state", settings) as running:
        yield running


def _below(system: System) -> list[psutil.Process]:
    """All that the worker has started, and what those have; nothing while it does not run."""
    pid = system.pid("worker")
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []


def _names(processes: list[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(process.name())
    return found


def _living(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(str(process))
        except psutil.NoSuchProcess:
            continue
    return found


def _trees(system: System) -> set[str]:
    return {path.name for path in Path(str(system.state.settings["worker"]["tree_dir"])).iterdir()}


def _building(system: System) -> list[psutil.Process]:
    """Waits until apt or dpkg work on a tree; returns all processes of the build."""
    system.wait(lambda: "mmdebstrap" in _names(_below(system)), seconds=30, what="the build has begun")
    time.sleep(2)
    return _below(system)


def _put_tree(system: System, tree: Path) -> None:
    """A tree from the cache, as if another worker had made it: the test need not wait for one."""
    folder = Path(str(system.state.settings["worker"]["tree_dir"]))
    shutil.copyfile(tree, folder / "new")
    os.replace(folder / "new", folder / tree.name)


def _results(system: System, package: str) -> list[str]:
    return [name for name in system.stored_results() if f"/{package}/" in name]


def _one_passed(system: System, request_id: str, package: str) -> None:
    page = f"/runs/{request_id}.json"
    system.wait(lambda: system.get(page).status_code == 200, seconds=90, what=f"{package}'s result")
    assert [run["outcome"] for run in system.get(page).json()["runs"]] == ["pass"], system.tails()
    assert len(_results(system, package)) == 1


def test_build_of_a_tree_ends_with_its_worker(system: System) -> None:
    tree = f"{system.state.release}-{system.state.arch}.tar"
    lock, scratch = tree.replace(".tar", ".lock"), tree.replace(".tar", ".making")
    request_id = system.request("ty-pass")
    # told to stop: heard at once, nothing left
    build = _building(system)
    assert scratch in _trees(system)
    keeper.stop_part(system.state, "worker")
    system.wait(lambda: system.pid("worker") is None, seconds=15, what="the worker has ended")
    assert _living(build) == []
    assert _trees(system) == {lock}
    keeper.start_part(system.state, "worker")
    # killed: nothing of it lives on, and the next one removes its folder
    build = _building(system)
    _put_tree(system, machine_tree())
    assert system.kill("worker")
    system.wait(lambda: not _living(build), seconds=10, what=f"the build's {len(build)} processes have ended")
    _one_passed(system, request_id, "ty-pass")
    assert _trees(system) == {lock, tree}


def test_sandbox_ends_with_its_killed_worker(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=5")

    # the test's own command is a loop over sleep
    system.wait(lambda: "sleep" in _names(_below(system)), seconds=60, what="the test runs")
    sandbox = _below(system)
    assert {"unshare", "autopkgtest"} <= _names(sandbox)
    assert system.kill("worker")
    system.wait(lambda: not _living(sandbox), seconds=10, what=f"{len(sandbox)} processes have ended")
    _one_passed(system, request_id, "ty-slow")
