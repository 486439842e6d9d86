# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from testyard.settings import Settings
from worker import images


def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Settings:
    file = tmp_path / "images.toml"
    head = '[topology]\nreleases = ["bookworm", "sid"]\narchitectures = ["armhf"]\n[worker]\n'
    folders = (
        f'work_dir = "{tmp_path}/work"\ntree_dir = "{tmp_path}/trees"\ntestbed_user = "testyard-testbed"\n'
    )
    file.write_text(f"{head}{folders}{text}")
    monkeypatch.setenv("TESTYARD_CONFIG", str(file))
    return Settings()


def test_one_for_each_release_and_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(
        tmp_path,
        monkeypatch,
        '[[worker.hosts]]\nname = "all"\ntestbed = "lxd"\n'
        '[[worker.hosts]]\nname = "some"\ntestbed = "lxd"\nreleases = ["sid"]\narchitectures = ["arm64"]\n'
        '[[worker.hosts]]\nname = "none"\ntestbed = "unshare"\n',
    )
    wanted = [(kept.host.name, kept.alias(r, a)) for kept, r, a in images.all_images(found)]
    assert wanted == [
        ("all", "testyard/bookworm/armhf"),
        ("all", "testyard/sid/armhf"),
        ("some", "testyard/sid/arm64"),
    ]


def test_without_a_server_it_says_so_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings(
        tmp_path,
        monkeypatch,
        f'[[worker.hosts]]\nname = "x"\ntestbed = "lxd"\naddress = "unix:{tmp_path}/no.socket"\n',
    )
    assert images.main() == 1
    said = [
        record.getMessage() for record in caplog.records if "no LXD on this machine" in record.getMessage()
    ]
    assert len(said) == 2


def test_wrong_settings_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTYARD_CONFIG", str(tmp_path / "none.toml"))
    assert images.main() == 1
