# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's chroot runner in namespaces. What it may reach: test_testbed_network.py."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system import PACKAGES, TREES
from tests.testbeds import prepared, ran, started
from tests.trees import account, machine_tree
from worker.testbed.chroot import chroot_testbed
from worker.testbed.tree import TreeCache
from worker.testbed.unshare import UnshareTestbed


@pytest.fixture
def testbed() -> UnshareTestbed:
    machine_tree()
    return chroot_testbed(account(), TreeCache(TREES, account(), 86400), PACKAGES, 500)


def test_a_package_is_tested_and_its_artifacts_come_out(testbed: UnshareTestbed, tmp_path: Path) -> None:
    assert testbed.problems() == ()
    assert (testbed.name, testbed.disposable, testbed.vm) == ("chroot", True, False)
    assert prepared(testbed) == []
    with started(testbed, tmp_path, "ty-pass") as run:
        assert run.end() == 0, run.said
        assert (run.workspace.out / "artifacts" / "kept.txt").read_text() == "kept\n"
        testbed.empty(run.workspace)
        assert not run.workspace.out.exists()


def test_a_failing_test_fails(testbed: UnshareTestbed, tmp_path: Path) -> None:
    exit_code, said = ran(testbed, tmp_path, "ty-fail")
    assert exit_code == 4, said
    assert re.search(r"^good +PASS$", said, re.MULTILINE), said


def test_root_that_left_its_chroot_changes_nothing(testbed: UnshareTestbed, tmp_path: Path) -> None:
    exit_code, said = ran(testbed, tmp_path, "ty-intruder", "--env=TY_ARCHIVE=1", "--env=TY_WORD=pytest")
    assert exit_code == 0, said
    assert "ARCHIVE REACHED" in said
    assert "\nESCAPED" in said
    assert not re.findall("^open .*", said, re.MULTILINE), said
    assert all(int(count) > 0 for count in re.findall(r"^# \w+: (\d+) to try", said, re.MULTILINE)), said


def test_a_run_has_so_many_processes(testbed: UnshareTestbed, tmp_path: Path) -> None:
    prepared(testbed)
    with started(testbed, tmp_path, "ty-forks") as run:
        run.until("no more than")
        run.process.kill()
        run.end()
    found = re.search(r"^no more than (\d+)", run.said, re.MULTILINE)
    assert found
    assert 400 < int(found[1]) < 500


def test_nothing_of_a_killed_run_lives_on(testbed: UnshareTestbed, tmp_path: Path) -> None:
    mark = f"TY_MARK={uuid.uuid4()}"
    with started(testbed, tmp_path, "ty-slow", "--env=TY_SECONDS=100", f"--env={mark}") as run:
        run.until("second 2")
        assert list(_marked(mark))
        run.process.kill()
        run.end()
        assert list(_marked(mark)) == []
    mounts = subprocess.run(["cat", "/proc/self/mounts"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in mounts


def _marked(mark: str) -> Iterator[int]:
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and mark in " ".join(process.cmdline()):
                yield process.pid
        except psutil.Error:
            continue
