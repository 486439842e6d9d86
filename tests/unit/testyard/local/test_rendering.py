# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is written for supervisord, RabbitMQ and Swift."""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import os
import shlex
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testyard.errors import SettingsError
from testyard.local.parts import all_parts
from testyard.local.rabbitmq import (
    hash_password,
    node_environment,
    node_name,
    render_config,
    render_definitions,
)
from testyard.local.state import LocalState
from testyard.local.supervisor_conf import render_supervisor
from testyard.local.swift_cache import LocalCache
from testyard.local.swift_conf import SwiftFolder, check_attributes, prepare
from testyard.local.swift_secrets import load_secrets, save_secrets
from testyard.local.toml import render_toml


@pytest.fixture
def state(tmp_path: Path) -> LocalState:
    return LocalState.load_or_create(tmp_path / "a state")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_toml_reads_back_any_string(text: str) -> None:
    assert tomllib.loads(render_toml({"a": {"b": text, "c": [text]}})) == {"a": {"b": text, "c": [text]}}


def test_toml_values() -> None:
    text = render_toml({"a": {"n": 3, "x": 0.5, "t": True, "p": Path("/x"), "l": ("a", "b")}, "empty": {}})
    assert tomllib.loads(text) == {"a": {"n": 3, "x": 0.5, "t": True, "p": "/x", "l": ["a", "b"]}}


def test_supervisord_keeps_every_part(state: LocalState) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(render_supervisor(state))
    for part in all_parts(state):
        program = parser[f"program:{part.name}"]
        assert shlex.split(program["command"]) == list(part.argv)
        assert program["autorestart"] == "true"
        assert program["killasgroup"] == "true"
    names = [part.name for part in all_parts(state)]
    functions = ["index", "status", "request", "webhook", "forge"]
    assert names == ["broker", "store", *functions, "web", "worker", "front"]
    assert ("user" in parser["supervisord"]) == (os.geteuid() == 0)


def test_somebody_is_told_of_runs_if_the_settings_say_whom(tmp_path: Path) -> None:
    state = LocalState.load_or_create(tmp_path / "state", settings={"notify": {"rules": "/etc/rules.toml"}})
    (part,) = (part for part in all_parts(state) if part.name == "notify")
    assert "functions.notify.app:create_app" in part.argv


def test_no_secret_where_others_can_read_it(state: LocalState) -> None:
    places = [render_supervisor(state), render_config(state), str(node_environment(state))]
    places += [argument for part in all_parts(state) for argument in part.argv]
    for secret in state.secrets.values():
        assert not any(secret in place for place in places)


def test_the_password_is_hashed_as_rabbitmq_does(state: LocalState) -> None:
    raw = base64.b64decode(hash_password("secret"))
    assert hashlib.sha256(raw[:4] + b"secret").digest() == raw[4:]
    definitions = json.loads(render_definitions(state))
    assert [user["name"] for user in definitions["users"]] == ["worker"]
    assert state.secrets["broker_password"] not in render_definitions(state)
    assert render_definitions(state) == render_definitions(state)


def test_rabbitmq_waits_two_days_for_an_acknowledgement(state: LocalState) -> None:
    lines = render_config(state).splitlines()
    assert "consumer_timeout = 172800000" in lines
    assert f"listeners.tcp.1 = 127.0.0.1:{state.ports['broker']}" in lines


def test_two_folders_are_two_nodes(tmp_path: Path, state: LocalState) -> None:
    assert node_name(state) != node_name(LocalState.load_or_create(tmp_path / "other"))


def test_swift_secrets_are_kept_and_the_environments_key_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save_secrets(tmp_path, user="testyard:testyard", key="one")
    second = save_secrets(tmp_path, user="testyard:testyard", key="two")
    assert (second.hash_suffix, second.back_end) == (first.hash_suffix, first.back_end)
    assert load_secrets(tmp_path).key == "two"
    monkeypatch.setenv("TESTYARD_LOCAL_STORE_KEY", "three")
    assert load_secrets(tmp_path).key == "three"
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_missing_or_damaged_swift_secrets_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"secrets\.json"):
        load_secrets(tmp_path)
    (tmp_path / "secrets.json").write_text('{"key": "x"}')
    with pytest.raises(SettingsError, match=r"secrets\.json"):
        load_secrets(tmp_path)


def test_swift_files_are_private_and_rings_follow_the_ports(tmp_path: Path) -> None:
    ring = pytest.importorskip("swift.common.ring")
    folder = SwiftFolder(tmp_path / "swift")
    secrets = save_secrets(folder.root, user="testyard:testyard", key="k")
    for ports in ((7001, 7002, 7003), (7011, 7012, 7013)):
        prepare(folder, 7000, ports, secrets)
        found = [
            ring.RingData.load(str(folder.etc / f"{kind}.ring.gz")).devs[0]["port"]
            for kind in ("account", "container", "object")
        ]
        assert tuple(found) == ports
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.etc.glob("*.conf"))


def test_a_folder_without_attributes_is_named() -> None:
    # /proc takes no file at all, which is the same to whoever has to choose another folder
    with pytest.raises(SettingsError, match="extended attributes"):
        check_attributes(Path("/proc"))


def test_the_cache_is_bounded_copies_and_forgets() -> None:
    cache = LocalCache(limit=10)
    value = {"a": [1]}
    cache.set("k", value)
    value["a"].append(2)
    assert cache.get("k") == {"a": [1]}
    cache.set("short", 1, time=-1)
    assert cache.get("short") is None
    assert cache.incr("n", 2) == 2
    assert cache.decr("n", 5) == 0
    cache.set_multi({str(number): number for number in range(50)})
    assert cache.get_multi(["49", "nothing"]) == [49, None]
    assert len(cache._entries) <= 10
    cache.delete("49")
    assert cache.get("49") is None
