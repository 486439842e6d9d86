# SPDX-License-Identifier: AGPL-3.0-or-later
"""What recipes make, and what stays of it when it is made anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.trees import account
from testyard.errors import TestbedError
from worker.testbed.recipe import Making
from worker.testbed.tree import TreeCache


@dataclass(frozen=True)
class Folders:
    """A recipe for a folder that holds one line."""

    line: str
    what: str = "folder"
    suffix: str = ".vm"

    def make(self, making: Making) -> Path:
        if not self.line:
            raise TestbedError("no line")
        made = making.scratch / "made"
        made.mkdir()
        (made / "line").write_text(self.line)
        return made


def cache(folder: Path, line: str, max_age: float = 0) -> TreeCache:
    return TreeCache(folder, account(), max_age, Folders(line))


def get(folder: Path, line: str, max_age: float = 0) -> Path:
    return cache(folder, line, max_age).get("sid", "amd64", lambda: False)


def test_a_folder_is_replaced_at_once_and_who_uses_the_old_one_keeps_it(tmp_path: Path) -> None:
    path = get(tmp_path, "first")
    assert (path.name, (path / "line").read_text()) == ("sid-amd64.vm", "first")
    in_use = path.resolve()
    assert get(tmp_path, "second") == path
    assert ((path / "line").read_text(), (in_use / "line").read_text()) == ("second", "first")
    get(tmp_path, "third")
    assert (path / "line").read_text() == "third"
    assert not in_use.exists()
    kept = {entry.name.partition(".vm.")[0] for entry in tmp_path.iterdir()}
    assert kept == {"sid-amd64", "sid-amd64.lock", "sid-amd64.vm"}
    assert len(list(tmp_path.iterdir())) == 4  # two folders, link, lock


def test_a_fresh_one_is_not_made_anew(tmp_path: Path) -> None:
    get(tmp_path, "first", 3600)
    assert (get(tmp_path, "second", 3600) / "line").read_text() == "first"


def test_an_old_one_serves_if_no_new_one_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match=r"^no folder for sid amd64: no line"):
        get(tmp_path, "")
    path = get(tmp_path, "first")
    assert get(tmp_path, "") == path
    assert (path / "line").read_text() == "first"
