# SPDX-License-Identifier: AGPL-3.0-or-later
"""A full disk under the default testbed: words where a person looks, and no request is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system import System, running_system
from tests.trees import machine_tree
from testyard.local.state import LocalState

#: MiB. A testbed's root tree takes 330 of the disk that work folder and store share.
SHARED, TREES = 480, 60


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of its own for work folder and store, and one for root trees."""
    folder = tmp_path_factory.mktemp("disk")
    # refusals are told after one second attempt, not after 31 s
    LocalState.load_or_create(folder / "state", settings={"store": {"retries": 1}})
    with ExitStack() as stack:
        for name, size in (("shared", SHARED), ("trees", TREES)):
            (folder / name).mkdir()
            _mount(stack, folder / name, "-t", "tmpfs", "-o", f"size={size}m,mode=711", "tmpfs")
        for name in ("work", "swift"):
            (folder / "shared" / name).mkdir()
            _mount(stack, folder / "state" / name, "--bind", str(folder / "shared" / name))
        yield folder


def _mount(stack: ExitStack, place: Path, *what: str) -> None:
    subprocess.run(["mount", *what, str(place)], check=True)
    stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def system(disk: Path) -> Iterator[System]:
    machine_tree()
    settings = {"testbed": "unshare", "tree_dir": str(disk / "trees")}
    with running_system(disk / "state", settings) as running:
        yield running


@pytest.mark.root
def test_disk_full_while_a_tree_is_made(system: System, disk: Path) -> None:
    run = system.run_of("ty-pass")
    assert (run["outcome"], run["exit_code"]) == ("tmpfail", 16)
    log = system.cli("log", run["run_id"])
    assert f"no root tree for {system.state.release} {system.state.arch}: the disk is full" in log
    assert f"Make room below {disk / 'trees'} (worker.tree_dir)" in log
    assert "the disk is full" in system.get(f"/runs/{run['request_id']}").text
    assert [path.suffix for path in (disk / "trees").iterdir()] == [".lock"]


@pytest.mark.root
def test_disk_full_in_a_testbed_and_then_before_a_run(system: System, disk: Path) -> None:
    with ExitStack() as stack:
        _mount(stack, disk / "trees", "--bind", str(machine_tree().parent))
        run = system.run_of("ty-fill")
        log = system.cli("log", run["run_id"])
        assert (run["outcome"], run["exit_code"]) == ("tmpfail", 16), log
        assert "the worker's disk is full" in log, log
        assert "disk is full" in system.get(f"/runs/{run['request_id']}").text
        _request_waits_for_room(system, disk)


def _request_waits_for_room(system: System, disk: Path) -> None:
    log = system.state.log_dir / "worker.log"
    before = len(log.read_text())
    _fill(disk / "shared" / "filler")
    request_id = system.request("ty-pass")
    system.wait(lambda: "trying again" in log.read_text()[before:], seconds=60, what="a refusal is told")
    assert system.get(f"/requests/{request_id}.json").json()["state"] in ("queued", "running")
    (disk / "shared" / "filler").unlink()
    page = f"/runs/{request_id}.json"
    system.wait(lambda: system.get(page).status_code == 200, seconds=120, what="the result")
    assert [one["outcome"] for one in system.get(page).json()["runs"]] == ["pass"]


def _fill(path: Path) -> None:
    room = shutil.disk_usage(path.parent).free
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room)
    assert shutil.disk_usage(path.parent).free < 4096
