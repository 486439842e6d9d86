# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard request`` refuses before anything is sent: here is no broker that it could reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.testyard.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["../etc"], "PACKAGE: '../etc'"),
        (["a/b"], "PACKAGE: 'a/b'"),
        ([""], "PACKAGE: ''"),
        (["gzip", "--trigger", "gzip"], "--trigger: 'gzip' is not source/version"),
        (["gzip", "--ppa", "x"], "--ppa: "),
        (["gzip", "--env", "1=2"], "--env: '1' is no name"),
        (["gzip", "--env", "A=2", "--env", "A=3"], "--env: 'A' is given twice"),
        (["gzip", "--testname", "a/b"], "--testname: 'a/b'"),
        (["gzip", "--testname", ""], "--testname: ''"),
        (["gzip", "--release", "jammy"], "--release: 'jammy' is not configured; there is: noble"),
        (["gzip", "--release", "../x"], "--release: '../x'"),
        (["gzip", "--arch", "s390x"], "--arch: 's390x' is not configured; there is: amd64, arm64"),
        (["gzip", "--arch", "amd64", "--arch", "x/y"], "--arch: 'x/y'"),
        (["gzip", "--context", "nosuch"], "--context: 'nosuch' is not configured; there is: ubuntu, huge"),
        (["gzip", "--context", "install"], "--context: 'install' is not configured"),
        (["gzip", "--follow"], "--follow: needs one architecture"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_requests_name_the_option(
    testyard: Command, arguments: list[str], words: str, as_json: bool
) -> None:
    result = testyard("request", *arguments, *(["--json"] if as_json else []))
    assert result.exit_code == 2
    assert result.stderr.startswith(words)
    assert result.stdout == ""


def test_only_contexts_with_queues_are_offered(testyard: Command, settings_file: Path) -> None:
    text = settings_file.read_text().replace("[topology]", '[topology]\ncontexts = ["ubuntu", "group"]')
    settings_file.write_text(text)
    assert "there is: ubuntu, group" in testyard("request", "gzip", "--context", "huge").stderr
    assert "'ppa' is not configured" in testyard("request", "gzip", "--ppa", "a/b").stderr
    assert testyard("request", "gzip", "--context", "group").stderr.startswith("broker: ")


def test_a_release_may_be_limited_to_architectures(testyard: Command, settings_file: Path) -> None:
    text = settings_file.read_text().replace("[topology]", '[topology]\nallowed = {noble = ["arm64"]}')
    settings_file.write_text(text)
    result = testyard("request", "gzip", "--arch", "amd64")
    assert (result.exit_code, result.stderr) == (2, "--arch: noble is not tested on amd64; on: arm64\n")
    # one architecture is left, so it can be followed; then the site is missing
    assert testyard("request", "gzip", "--follow").stderr.startswith("site.url: ")


def test_an_architecture_named_twice_is_one(testyard: Command) -> None:
    result = testyard("request", "gzip", "--arch", "amd64", "--arch", "amd64", "--follow")
    assert (result.exit_code, result.stderr[:9]) == (1, "site.url:"), "it is one, so it could be followed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ""),
        (["--all-proposed"], "Note: --all-proposed changes nothing"),
        (["--trigger", "migration-reference/0"], "Note: every run is a reference run"),
        (["--trigger", "gzip/1"], "Note: triggers are told to the test, but nothing of them is installed"),
    ],
)
def test_without_a_proposed_pocket_a_note_says_what_changes_nothing(
    testyard: Command, settings_file: Path, options: list[str], words: str
) -> None:
    assert "Note" not in testyard("request", "gzip", *options).stderr
    settings_file.write_text(settings_file.read_text().replace("[worker]", '[worker]\nproposed_pocket = ""'))
    result = testyard("request", "gzip", *options)
    assert result.exit_code == 1
    assert words in result.stderr
    assert ("Note" in result.stderr) is bool(words)


@pytest.mark.parametrize(
    ("releases", "words", "code"),
    [("[]", "none is configured", 1), ('["a", "b"]', "there are a, b", 2)],
)
def test_the_release_must_be_known(
    testyard: Command, settings_file: Path, releases: str, words: str, code: int
) -> None:
    settings_file.write_text(f'[topology]\nreleases = {releases}\narchitectures = ["amd64"]\n')
    result = testyard("request", "gzip")
    assert result.exit_code == code
    assert result.stderr.startswith("--release: needed")
    assert words in result.stderr


def test_no_topology_to_set_up(testyard: Command, settings_file: Path) -> None:
    settings_file.write_text("")
    result = testyard("broker", "setup")
    assert result.exit_code == 1
    assert "topology" in result.stderr
