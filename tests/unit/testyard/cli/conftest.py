# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line with settings of its own for each test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.unit.testyard.sites import Site
from testyard.cli.app import app

Command = Callable[..., Result]

RUN = "20260105_120000_abcde@"


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


@pytest.fixture
def run(site: Site, settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run that the site has."""
    assert settings_file.exists()  # written first: it clears the environment
    monkeypatch.setenv("TESTYARD_SITE__URL", site.url)
    found = {
        "release": "noble",
        "architecture": "amd64",
        "source": "demo",
        "container": "autopkgtest-noble",
        "version": "1.2-3",
        "run_id": RUN,
        "request_id": "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d",
        "triggers": ["a1/1"],
        "exit_code": 4,
        "outcome": "fail",
        "explanation": "at least one test failed",
        "duration": 261,
        "completed": "2026-01-05T12:00:00Z",
        "phases": [
            {"phase": "build", "started": 1.0, "seconds": 100.4, "test": None},
            {"phase": "test", "started": 2.0, "seconds": None, "test": "[red]x[/red]"},
        ],
        "tests": [{"name": "[red]x[/red]", "outcome": "FAIL", "reason": "exit [3]", "seconds": 3.25}],
        "urls": {"page": f"{site.url}/page", "log": f"{site.url}/log", "artifacts": f"{site.url}/artifacts"},
    }
    site.answers["/packages/demo.json"] = (200, {"runs": [found, {**found, "architecture": "arm64"}]})
    site.answers[f"/runs/{RUN}.json"] = (200, {"runs": [found]})
    site.answers["/log"] = (200, "line ä\n".encode())
    return found


@pytest.fixture
def waiting(run: dict[str, Any], site: Site) -> dict[str, Any]:
    """A queued request that the site knows, the second of two in its queue; a test may change it."""
    found = {
        "request_id": "0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a02",
        "queue": "debci-noble-amd64",
        "context": "ubuntu",
        "release": "noble",
        "architecture": "amd64",
        "package": "[b]demo",
        "state": "queued",
        "accepted": time.time() - 75,
        "taken": None,
        "updated": time.time() - 75,
        "worker": "",
        "reason": "",
        "phases": [],
        "log_tail": "",
        "log_end": 0,
        "url": f"{site.url}/requests/0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a02",
        "run": None,
    }
    site.answers[f"/requests/{found['request_id']}.json"] = (200, found)
    others = [{**found, "request_id": "1", "queue": "debci-noble-arm64"}, {**found, "request_id": "2"}]
    queues = [
        {"queue": "debci-noble-amd64", "messages": 7, "consumers": 0},
        {"queue": "debci-huge-noble-amd64", "messages": 0, "consumers": 0},
    ]
    site.answers["/running.json"] = (200, {"requests": [*others, found], "queues": queues})
    assert run["request_id"] != found["request_id"]
    return found
