# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command that runs a test again: what it may hold, and what is done to it."""

from __future__ import annotations

import shlex

import pytest

from testyard.errors import ResultError
from testyard.reproduce import (
    archive_option,
    in_testbed,
    masked_names,
    recipe,
    testbed_words,
    with_source,
    with_values,
)

LINE = (
    "autopkgtest --apt-pocket=proposed=src:zlib --apt-upgrade --timeout-test=10000 '--env=A=b c' "
    "gzip -- unshare --release=noble --arch=amd64"
)


def test_a_line_of_ours_is_taken() -> None:
    words = recipe(LINE, "noble", "amd64")
    assert shlex.join(words) == LINE
    assert recipe("", "noble", "amd64") == ()
    assert recipe("autopkgtest --no-built-binaries https://e.org/x#main -- null", "noble", "amd64")


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /",
        "rm -rf gzip -- null",
        "autopkgtest gzip",
        "autopkgtest --gain-root=reboot gzip -- null",
        "autopkgtest --copy=/etc/passwd:/x gzip -- null",
        "autopkgtest --output-dir=/etc gzip -- null",
        "autopkgtest gzip -- qemu --qemu-command=/tmp/x y",
        "autopkgtest gzip -- unshare --release=other --arch=amd64",
        "autopkgtest gzip -- ../../tmp/x",
        "autopkgtest /tmp/x -- null",
        "autopkgtest file:///x -- null",
        "autopkgtest gzip -- null; reboot",
        "autopkgtest 'gzip -- null",
        "autopkgtest --env=A=\x1b[2J gzip -- null",
        "-- null",
    ],
)
def test_a_strangers_line_is_not_run(line: str) -> None:
    with pytest.raises(ResultError):
        recipe(line, "noble", "amd64")


def test_on_the_machine_itself_nothing_is_changed() -> None:
    words = recipe(LINE, "noble", "amd64")
    assert in_testbed(words, ["null"])[1:] == ("--timeout-test=10000", "--env=A=b c", "gzip", "--", "null")
    assert in_testbed(words, ["lxd", "images:x"]) == (*words[: words.index("--")], "--", "lxd", "images:x")


def test_the_very_source() -> None:
    words = recipe(LINE, "noble", "amd64")
    found = with_source(words, "gzip", "/x/gzip_1.dsc")
    assert found[-6:] == (
        "--no-built-binaries",
        "/x/gzip_1.dsc",
        "--",
        *testbed_words("unshare", "noble", "amd64"),
    )
    git = recipe("autopkgtest https://e.org/x -- null", "noble", "amd64")
    assert with_source(git, "gzip", "/x/gzip_1.dsc") == git


def test_archives_stand_there_as_a_command() -> None:
    option = archive_option(["https://e.org/a", "https://e.org/b"], "noble", "main")
    assert option.count("[trusted=yes]") == 4
    assert "'deb-src [trusted=yes] https://e.org/b noble main'" in option
    assert recipe(shlex.join(["autopkgtest", option, "gzip", "--", "null"]), "noble", "amd64")[1] == option


def test_secret_values_are_the_developers_to_give() -> None:
    words = recipe(
        "autopkgtest --env=A=1 '--env=X_TOKEN=***' '--env=Y_KEY=***' gzip -- null", "noble", "amd64"
    )
    assert masked_names(words) == ("X_TOKEN", "Y_KEY")
    assert with_values(words, {"X_TOKEN": "two words"})[1:4] == (
        "--env=A=1",
        "--env=X_TOKEN=two words",
        "gzip",
    )
    assert with_values(words, {})[1:3] == ("--env=A=1", "gzip")
