# SPDX-License-Identifier: AGPL-3.0-or-later
"""The webhook function's own reader of the settings finds what `testyard.settings` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.webhook.settings import load_webhook_settings
from testyard.errors import SettingsError
from testyard.settings import load_settings

FILES = {
    "nothing": "",
    "all": '[broker]\nurl = "amqp://a:b@c/d"\n[intake]\nprojects = "/x"\ntrusted_proxies = ["10.0.0.1"]\n',
    "others": '[intake]\npolicy = "/y"\n[store]\nkey = "k"\n',
}
VARIABLES: dict[str, dict[str, str]] = {
    "none": {},
    "all": {
        "TESTYARD_BROKER__URL": "amqp://e",
        "TESTYARD_INTAKE__PROJECTS": "/z",
        "TESTYARD_INTAKE__TRUSTED_PROXIES": '["::2", "::3"]',
    },
}
WRONG = {
    "no list": '[intake]\ntrusted_proxies = "10.0.0.1"\n',
    "no text": "[broker]\nurl = 1\n",
    "no table": "broker = 1\n",
    "no TOML": "[",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("variables", VARIABLES)
def test_both_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, variables: str
) -> None:
    environment = {"TESTYARD_CONFIG": str(tmp_path / "settings.toml"), **VARIABLES[variables]}
    (tmp_path / "settings.toml").write_text(FILES[file])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs, ours = load_settings(), load_webhook_settings(environment)
    assert ours.broker_url == theirs.broker.url.get_secret_value()
    assert ours.projects == theirs.intake.projects
    assert ours.trusted_proxies == theirs.intake.trusted_proxies


@pytest.mark.parametrize("wrong", WRONG)
def test_both_refuse_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    (tmp_path / "settings.toml").write_text(WRONG[wrong])
    monkeypatch.setenv("TESTYARD_CONFIG", str(tmp_path / "settings.toml"))
    for load in (
        load_settings,
        lambda: load_webhook_settings({"TESTYARD_CONFIG": str(tmp_path / "settings.toml")}),
    ):
        with pytest.raises(SettingsError):
            load()
