# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state folder: made once, kept, and read by the settings of every part."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from pathlib import Path

import pytest

from testyard.errors import SettingsError
from testyard.local.machine import machine_release, unknown_releases
from testyard.local.ports import PORT_NAMES
from testyard.local.state import LocalState, default_state_folder
from testyard.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_secrets_and_ports_are_made_once_and_kept(folder: Path) -> None:
    first = LocalState.load_or_create(folder)
    assert LocalState.load_or_create(folder) == first
    assert LocalState.load(folder) == first
    assert all(len(secret) >= 32 for secret in first.secrets.values())
    assert tuple(first.ports) == PORT_NAMES
    assert len(set(first.ports.values())) == len(PORT_NAMES)


def test_only_the_owner_may_read(folder: Path) -> None:
    state = LocalState.load_or_create(folder)
    state.write_settings()
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("state.json", "settings.toml"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_every_part_can_read_the_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = LocalState.load_or_create(folder, release="bookworm", arch="arm64")
    state.write_settings()
    for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TESTYARD_CONFIG", str(state.settings_file))
    settings = load_settings()
    port = state.ports["broker"]
    password = state.secrets["broker_password"]
    assert settings.broker.url.get_secret_value() == f"amqp://worker:{password}@127.0.0.1:{port}/testyard"
    assert settings.store.auth_version == "1"
    assert settings.store.auth_url == f"http://127.0.0.1:{state.ports['store']}/auth/v1.0"
    assert settings.store.user == "testyard:testyard"
    assert settings.store.public_url == f"http://127.0.0.1:{state.ports['store']}/v1/AUTH_testyard"
    assert settings.database.url.get_secret_value() == f"sqlite:////{str(folder)[1:]}/index.db"
    assert settings.site.url == f"http://127.0.0.1:{state.ports['web']}"
    assert settings.topology.releases == ("bookworm",)
    assert settings.topology.architectures == ("arm64",)
    assert settings.worker.work_dir == folder / "work"
    assert settings.worker.lease == 10
    assert settings.index.sweep_interval == 60


def test_choices_are_laid_over_ours_and_kept(folder: Path) -> None:
    LocalState.load_or_create(folder, settings={"worker": {"testbed": "null", "slots": 2}})
    again = LocalState.load_or_create(folder, ports={"web": 8443}, settings={"worker": {"slots": 3}})
    content = tomllib.loads(again.render_settings())
    assert content["worker"]["testbed"] == "null"
    assert content["worker"]["slots"] == 3
    assert content["worker"]["lease"] == 10
    assert content["site"]["url"] == "http://127.0.0.1:8443"


def test_rewriting_the_settings_changes_nothing(folder: Path) -> None:
    state = LocalState.load_or_create(folder)
    assert state.write_settings()
    assert not state.write_settings()


def test_no_state_is_none(folder: Path) -> None:
    assert LocalState.load(folder) is None
    assert not folder.exists()


@pytest.mark.parametrize("name", ["passwd", ".bashrc"])
def test_a_folder_of_other_things_stays_as_it_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / name).write_text("precious")
    with pytest.raises(SettingsError, match="holds something else"):
        LocalState.load_or_create(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in folder.iterdir()] == [name]


def test_what_was_being_written_when_the_power_went_is_ours(tmp_path: Path) -> None:
    (tmp_path / ".state.json.0a1b2c3d").write_text("{")
    assert LocalState.load_or_create(tmp_path).path == tmp_path


def test_a_folder_that_holds_something_else_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("")
    with pytest.raises(SettingsError, match="holds something else"):
        LocalState.load_or_create(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"ports": {"web": "x"}}', '{"ports": 3}'])
def test_a_damaged_state_is_named(folder: Path, text: str) -> None:
    LocalState.load_or_create(folder)
    (folder / "state.json").write_text(text)
    with pytest.raises(SettingsError, match=r"state\.json"):
        LocalState.load_or_create(folder)


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be made"):
        LocalState.load_or_create(tmp_path / "file")


@pytest.mark.parametrize("name", ['a"b', "a'b", "a;b", "a\\b", "a%b", "a\nb"])
def test_a_name_that_no_server_can_quote_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="quote"):
        LocalState.load_or_create(tmp_path / name)


def test_a_long_name_gets_a_short_socket_folder_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    long = tmp_path / ("x" * 100)
    state = LocalState.load_or_create(long)
    assert state.run_dir.parent == runtime
    assert state.run_dir.stat().st_mode & 0o777 == 0o700
    assert LocalState.load_or_create(long).run_dir == state.run_dir
    # after a reboot the folder is gone
    state.run_dir.rmdir()
    assert LocalState.load_or_create(long).run_dir.is_dir()
    assert json.loads((long / "state.json").read_bytes())["run_dir"] != str(long / "run")


def test_the_default_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_state_folder() == Path("/somewhere/testyard")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_state_folder() == Path.home() / ".local/state/testyard"


def test_port_that_another_holds_is_not_remembered(tmp_path: Path) -> None:
    before = LocalState.load_or_create(tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"web: port {port}"):
            LocalState.load_or_create(tmp_path / "state", ports={"web": port})
    after = LocalState.load(tmp_path / "state")
    assert after is not None
    assert after.ports == before.ports


def test_what_changed_since_the_last_start_is_named(tmp_path: Path) -> None:
    state = LocalState.load_or_create(tmp_path / "s")
    assert state.changed_settings() == ()
    state.write_settings()
    assert state.changed_settings() == ()
    again = LocalState.load_or_create(tmp_path / "s", settings={"worker": {"slots": 3}})
    assert again.changed_settings() == ("worker.slots",)


def test_a_release_that_apt_does_not_know() -> None:
    own = machine_release()
    assert unknown_releases([own, "nosuchrelease"]) == ("nosuchrelease",)
