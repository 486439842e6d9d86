# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests on the worker's own machine: several at once, of root and of others."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import PACKAGES
from tests.testbeds import ran
from worker.testbed.null import NullTestbed

NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every account may reach, not in /tmp."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_each_run_has_its_own_tmp(tmp_path: Path) -> None:
    assert tmp_path.is_relative_to("/tmp"), "what the run needs of /tmp is there all the same"
    shutil.copytree(PACKAGES / "ty-pass", tmp_path / "sources" / "ty-tmp")
    left = Path(f"/tmp/ty-{uuid.uuid4()}")
    control = tmp_path / "sources" / "ty-tmp" / "debian" / "tests" / "control"
    control.write_text(f"Test-Command: ls -A /tmp; touch {left}; test -k /tmp\nDepends:\n")
    with tempfile.NamedTemporaryFile(dir="/tmp") as known:
        exit_code, said = ran(NullTestbed(tmp_path / "sources"), tmp_path, "ty-tmp")
    assert exit_code == 0, said
    assert "autopkgtest_script_pid" in said, "autopkgtest has one name for all runs of a machine"
    assert Path(known.name).name not in said
    assert not left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_worker_that_is_not_root(shared: Path) -> None:
    shutil.copytree(PACKAGES / "ty-pass", shared / "sources" / "ty-pass")
    runs = shared / "runs"
    runs.mkdir()
    os.chown(runs, NOBODY, NOBODY)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            exit_code, said = ran(NullTestbed(shared / "sources"), runs, "ty-pass")
            (runs / "said").write_text(said)
            os._exit(exit_code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    said = runs / "said"
    assert os.waitstatus_to_exitcode(status) == 0, said.read_text() if said.exists() else "it did not run"
