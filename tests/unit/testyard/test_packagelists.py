# SPDX-License-Identifier: AGPL-3.0-or-later
"""The release team's lists, and the limits that follow from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from testyard.errors import SettingsError
from testyard.packagelists import PackageList, PackageLists
from testyard.queue import QueueName
from testyard.settings import Timeouts
from worker.limits import limits_for

QUEUE = QueueName("huge", "noble", "armhf")


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("gzip", True),
        ("gzip/armhf", True),
        ("gzip/armhf/noble", True),
        ("gzip/all/noble", True),
        ("gzip/all", True),
        ("gz*", True),
        ("gzip/arm*/n[aeiou]ble", True),
        ("  gzip/armhf  ", True),
        ("gzip/amd64", False),
        ("gzip/armhf/jammy", False),
        ("gzi", False),
        ("# gzip", False),
        ("", False),
        ("   ", False),
        ("zip/armhf", False),
    ],
)
def test_a_line(tmp_path: Path, line: str, listed: bool) -> None:
    (tmp_path / "never_run").write_text(f"other\n{line}\n")
    assert PackageLists(tmp_path).of("gzip", QUEUE) == ({PackageList.NEVER} if listed else set())


def test_each_request_reads_the_lists_anew(tmp_path: Path) -> None:
    lists = PackageLists(tmp_path)
    assert lists.of("gzip", QUEUE) == set()
    (tmp_path / "big_packages").write_text("gzip\n")
    (tmp_path / "vm_packages").write_text("g*/armhf\n")
    assert lists.of("gzip", QUEUE) == {PackageList.BIG, PackageList.VM}


def test_no_folder_is_named() -> None:
    assert PackageLists(None).of("gzip", QUEUE) == set()


def test_what_cannot_be_read_is_not_taken_for_empty(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"worker\.package_lists: no folder"):
        PackageLists(tmp_path / "gone").of("gzip", QUEUE)
    (tmp_path / "never_run").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"never_run: .*utf-8"):
        PackageLists(tmp_path).of("gzip", QUEUE)


@pytest.mark.parametrize(
    ("architecture", "lists", "expected"),
    [
        ("amd64", set(), (1, 2, 3, 4, 5, 6)),
        ("riscv64", set(), (4, 8, 12, 16, 20, 24)),
        ("amd64", {PackageList.LONG}, (1, 2, 12, 4, 10, 24)),
        ("amd64", {PackageList.LONG, PackageList.BIG}, (1, 2, 12, 4, 10, 24)),
        ("amd64", {PackageList.BIG}, (1, 2, 6, 4, 5, 12)),
        ("riscv64", {PackageList.LONG}, (4, 8, 48, 16, 40, 96)),
    ],
)
def test_limits(architecture: str, lists: set[PackageList], expected: tuple[int, ...]) -> None:
    base = Timeouts(short=1, install=2, test=3, copy_files=4, build=5, run=6)
    found = limits_for(base, architecture, lists)
    assert tuple(found.model_dump().values()) == expected
