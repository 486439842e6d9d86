# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings: file, environment, errors, and that no secret gets out."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from testyard.archives import Archives
from testyard.errors import SettingsError
from testyard.settings import Settings, Store, Topology, load_settings

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.toml"
    monkeypatch.setenv("TESTYARD_CONFIG", str(path))
    return path


def test_defaults() -> None:
    settings = load_settings()
    assert settings.broker.url.get_secret_value().startswith("amqp://")
    assert settings.worker.name
    assert settings.topology.queues() == ()


def test_the_file(config: Path) -> None:
    config.write_text(
        '[broker]\nurl = "amqp://b"\n[topology]\nreleases = ["noble"]\narchitectures = ["amd64"]\n'
        "[worker]\nslots = 3\n[worker.timeouts]\ntest = 7\n"
    )
    settings = load_settings()
    assert settings.broker.url.get_secret_value() == "amqp://b"
    assert (settings.worker.slots, settings.worker.timeouts.test) == (3, 7)
    assert [str(queue) for queue in settings.topology.queues()] == [
        "debci-noble-amd64",
        "debci-huge-noble-amd64",
        "debci-ppa-noble-amd64",
        "debci-upstream-noble-amd64",
        "debci-urgent-noble-amd64",
    ]


def test_the_environment_wins_value_by_value(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('[store]\nuser = "file"\nregion = "here"\n[worker]\nslots = 3\n')
    monkeypatch.setenv("TESTYARD_STORE__USER", "environment")
    monkeypatch.setenv("TESTYARD_TOPOLOGY__RELEASES", '["noble", "jammy"]')
    monkeypatch.setenv("TESTYARD_WORKER__TIMEOUTS__TEST", "9")
    settings = load_settings()
    assert (settings.store.user, settings.store.region) == ("environment", "here")
    assert settings.topology.releases == ("noble", "jammy")
    assert (settings.worker.slots, settings.worker.timeouts.test) == (3, 9)


def test_other_variables_of_ours_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTYARD_STATE", "/somewhere")
    assert load_settings().store.user == ""


def refused() -> SettingsError:
    """The error of loading; checks that nothing a log would show of it holds the secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value)
    assert SECRET not in shown
    return caught.value


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[store]\nkey = ['s3cret']", "store.key"),
        ("[broker]\nurl = {x = 's3cret'}", "broker.url"),
        ("[broker]\npassword = 's3cret'", "broker.password"),
        ("[brokr]\nurl = 's3cret'", "brokr"),
        ("broker = 's3cret'", "broker"),
        ("[worker]\nslots = 0", "worker.slots"),
        ("[worker]\nslots = 1001", "worker.slots"),
        ("[worker]\ntestbed = 'docker'", "worker.testbed"),
        ("[worker.timeouts]\ntest = 'long'", "worker.timeouts.test"),
        ("[store]\nauth_version = '2'", "store.auth_version"),
        ("[store]\nretries = -1", "store.retries"),
        ("[topology]\nreleases = 'noble'", "topology.releases"),
        ("[index]\nsweep_interval = 0", "index.sweep_interval"),
    ],
)
def test_a_wrong_value_names_its_key(config: Path, text: str, key: str) -> None:
    config.write_text(text)
    assert f"\n{key}: " in str(refused())


@pytest.mark.parametrize(
    "text", [b"x", b"[broker]\nurl = s3cret", b"url = 's3cret", b"\xff", b"[broker]\nurl='a'\nurl='s3cret'"]
)
def test_no_toml_names_the_file(config: Path, text: bytes) -> None:
    config.write_bytes(text)
    assert str(config) in refused().brief


def test_a_missing_file_is_named(config: Path) -> None:
    error = refused()
    assert str(config) in error.brief
    assert error.resolution


def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTYARD_CONFIG", "/proc/self/mem")  # a file whose reading fails, for root too
    assert "/proc/self/mem" in refused().brief


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TESTYARD_BROKER", "s3cret{", "broker"),
        ("TESTYARD_TOPOLOGY__RELEASES", "s3cret", "topology"),
        ("TESTYARD_WORKER__SLOTS", "s3cret", "worker.slots"),
        ("TESTYARD_STORE__NOPE", "s3cret", "store.nope"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    error = refused()
    assert words in str(error)
    assert "None" not in str(error)


def test_secrets_are_not_shown(config: Path) -> None:
    config.write_text(
        f'[broker]\nurl = "amqp://u:{SECRET}@h"\n[store]\nkey = "{SECRET}"\n[database]\nurl = "x://{SECRET}"\n'
    )
    settings = load_settings()
    assert SECRET in settings.broker.url.get_secret_value()
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_section_of_its_own_shows_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        Store.model_validate({"key": [SECRET]})
    assert SECRET not in str(caught.value) + repr(caught.value)


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.store.user = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.store = settings.store  # type: ignore[misc]


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        (Topology(releases=("a-b",), architectures=("amd64",)), "release"),
        (Topology(releases=("noble",), architectures=("AMD",)), "architecture"),
        (Topology(releases=("noble",), architectures=("amd64",), contexts=("x",)), "context"),
    ],
)
def test_a_topology_without_names(topology: Topology, words: str) -> None:
    with pytest.raises(SettingsError, match=rf"^topology: {words}: "):
        topology.queues()


def test_arguments_win() -> None:
    assert Settings(topology=Topology(releases=("x",))).topology.releases == ("x",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("public_url", "https://{owner}.example.org/{name}"),
        ("public_url", "file:///srv/{owner}/{name}"),
        ("private_url", "https://me:secret@example.org/{owner}/{name}"),
        ("key_url", "https://example.org/{owner}"),
        ("about_url", "https://example.org/{owner!r}"),
        ("about_url", "https://example.org/ {owner}"),
    ],
)
def test_a_request_cannot_choose_the_host_of_an_archive(key: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Archives.model_validate({key: value})
