# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command that runs a test again: what it may hold, and what is done to it."""

from __future__ import annotations

import shlex
from typing import get_args

import pytest

from testyard.errors import ResultError
from testyard.hosts import AnyHost
from testyard.reproduce import (
    archive_option,
    in_testbed,
    masked_names,
    needing_another,
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


OUR_KINDS = [kind.model_fields["testbed"].default for kind in get_args(get_args(AnyHost)[0])]
UNSHARE = ("unshare", "--release=noble", "--arch=amd64")
NAMED = {
    "unshare": UNSHARE,
    "chroot": UNSHARE,
    "qemu": ("qemu", "autopkgtest-noble-amd64.img"),
    "qemu/kvm": ("qemu", "autopkgtest-noble-amd64.img"),
    "qemu/tcg": ("qemu", "autopkgtest-noble-amd64.img"),
    "null": ("null",),
    "ssh": ("ssh",),
    "lxd": ("lxd", "testyard/noble/amd64"),
    "openstack": ("openstack",),
}


@pytest.mark.parametrize("kind", sorted({*OUR_KINDS, *NAMED}))
def test_every_kind_of_host(kind: str) -> None:
    words = testbed_words(kind, "noble", "amd64")
    assert words == NAMED[kind]
    assert recipe(shlex.join(["autopkgtest", "gzip", "--", *words]), "noble", "amd64")[-len(words) :] == words
    assert recipe(f"autopkgtest gzip -- {kind}", "noble", "amd64")[3:] == words, "as it was written once"
    assert bool(needing_another(words)) == (kind in ("null", "ssh", "lxd", "openstack"))


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
        "autopkgtest gzip -- ssh --setup-script=/tmp/x",
        "autopkgtest gzip -- qemu/kvm /tmp/x",
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
