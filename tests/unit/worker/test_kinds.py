# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which testbeds a reload makes anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trees import account
from testyard.hosts import ChrootHost, Host, LxdHost, NullHost, QemuHost, SshHost, UnshareHost
from testyard.settings import Worker
from worker.testbed import kinds
from worker.testbed.kinds import KeptTestbeds

HOSTS = (
    NullHost(name="h"),
    UnshareHost(name="h"),
    ChrootHost(name="h"),
    SshHost(name="h", address="h", identity=Path("/key"), known_hosts=Path("/known")),
    QemuHost(name="h"),
    LxdHost(name="h"),
)
ALL_KINDS = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.testbed)


def worker(folder: Path, **more: Any) -> Worker:
    return Worker(work_dir=folder, tree_dir=folder, testbed_user=account().name, **more)


@ALL_KINDS
def test_one_whose_settings_are_the_same_stays(tmp_path: Path, host: Host) -> None:
    testbeds = KeptTestbeds()
    first = testbeds.of(host, worker(tmp_path))
    assert testbeds.of(host.model_copy(), worker(tmp_path, retry_pause=7)) is first
    assert testbeds.of(host.model_copy(update={"slots": 2}), worker(tmp_path)) is not first


@pytest.mark.parametrize(
    "changed", [{"max_processes": 200}, {"source_dir": Path("/src")}, {"tree_max_age": 7}], ids=str
)
def test_one_is_made_anew_for_what_it_takes_of_the_worker_s_settings(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    testbeds, host = KeptTestbeds(), UnshareHost(name="h")
    first = testbeds.of(host, worker(tmp_path))
    assert testbeds.of(host, worker(tmp_path, **changed)) != first
    assert testbeds.of(host, worker(tmp_path)) is not first


class Read:
    """The settings, and which of them were read."""

    def __init__(self, settings: Worker) -> None:
        self.settings = settings
        self.keys: set[str] = set()

    def __getattr__(self, key: str) -> Any:
        self.keys.add(key)
        return getattr(self.settings, key)


@ALL_KINDS
def test_no_testbed_takes_more_of_them_than_is_compared(tmp_path: Path, host: Host) -> None:
    settings: Any = Read(worker(tmp_path))
    kinds.make_testbed(host, settings, KeptTestbeds().owners)
    # the last two: a reload refuses to change them
    assert settings.keys <= {*kinds._USED, "work_dir", "name"}


def test_an_lxd_host_s_owner_outlives_its_testbed(tmp_path: Path) -> None:
    testbeds = KeptTestbeds()
    first: Any = testbeds.of(LxdHost(name="h"), worker(tmp_path))
    second: Any = testbeds.of(LxdHost(name="h", slots=2), worker(tmp_path))
    other: Any = testbeds.of(LxdHost(name="other"), worker(tmp_path))
    assert first is not second
    assert first.owner is second.owner
    assert other.owner is not first.owner
