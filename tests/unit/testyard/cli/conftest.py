# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line with settings of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from testyard.cli.app import app

Command = Callable[..., Result]


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file whose servers answer nobody; no other settings."""
    for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "settings.toml"
    path.write_text(
        '[broker]\nurl = "amqp://u:s3cret@127.0.0.1:1/"\n'
        '[store]\nauth_version = "1"\nauth_url = "http://127.0.0.1:1/x"\nuser = "a:b"\nkey = "s3cret"\n'
        f'[database]\nurl = "sqlite:///{tmp_path}/index.db"\n'
        '[topology]\nreleases = ["noble"]\narchitectures = ["amd64", "arm64"]\n'
        f'[worker]\nwork_dir = "{tmp_path}/work"\n'
    )
    monkeypatch.setenv("TESTYARD_CONFIG", str(path))
    return path


@pytest.fixture
def testyard(settings_file: Path) -> Command:
    """Runs a command line; nothing but an exit may come out of it, and no secret."""
    assert settings_file.exists()

    def run(*arguments: str) -> Result:
        result: Result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None:
            assert isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        assert "s3cret" not in result.output
        return result

    return run
