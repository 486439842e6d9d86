# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard request`` refuses before anything is sent: here is no broker that it could reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.testyard.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["../etc"], "package: '../etc'"),
        (["a/b"], "package: 'a/b'"),
        ([""], "package: ''"),
        (["gzip", "--trigger", "gzip"], "triggers: 'gzip' is not source/version"),
        (["gzip", "--ppa", "x"], "ppas: "),
        (["gzip", "--env", "1=2"], "env: '1=2'"),
        (["gzip", "--testname", "a/b"], "testname: 'a/b'"),
        (["gzip", "--release", "jammy"], "--release: 'jammy' is not configured; there is: noble"),
        (["gzip", "--release", "../x"], "--release: '../x'"),
        (["gzip", "--arch", "s390x"], "--arch: 's390x' is not configured; there is: amd64, arm64"),
        (["gzip", "--arch", "amd64", "--arch", "x/y"], "--arch: 'x/y'"),
        (["gzip", "--context", "nosuch"], "context: 'nosuch' is none of"),
        (["gzip", "--follow"], "--follow: needs one architecture"),
        (["gzip", "--arch", "amd64"], "broker: cannot connect"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_requests_name_the_part(
    testyard: Command, arguments: list[str], words: str, as_json: bool
) -> None:
    result = testyard("request", *arguments, *(["--json"] if as_json else []))
    assert result.exit_code == 1
    assert result.stderr.startswith(words)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("releases", "words"), [("[]", "none is configured"), ('["a", "b"]', "there are a, b")]
)
def test_the_release_must_be_known(testyard: Command, settings_file: Path, releases: str, words: str) -> None:
    settings_file.write_text(f'[topology]\nreleases = {releases}\narchitectures = ["amd64"]\n')
    result = testyard("request", "gzip")
    assert result.exit_code == 1
    assert result.stderr.startswith("--release: needed")
    assert words in result.stderr


def test_no_topology_to_set_up(testyard: Command, settings_file: Path) -> None:
    settings_file.write_text("")
    result = testyard("broker", "setup")
    assert result.exit_code == 1
    assert "topology" in result.stderr
