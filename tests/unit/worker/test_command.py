# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's arguments: their order is a contract with the older worker's users."""

from __future__ import annotations

from typing import Any

import pytest

from testyard.errors import RequestError
from testyard.queue import QueueName
from testyard.request import make_request
from testyard.settings import Timeouts, Worker
from worker.command import build_command, check_runnable
from worker.testbed.base import Command, source_arguments
from worker.testbed.null import NullTestbed

QUEUE = QueueName("ubuntu", "noble", "amd64")
LIMITS = [
    "--timeout-short=1",
    "--timeout-install=2",
    "--timeout-test=3",
    "--timeout-copy=4",
    "--timeout-build=5",
]


def command_of(parameters: dict[str, Any], *, disposable: bool = True, pocket: str = "proposed") -> Command:
    limits = Timeouts(short=1, install=2, test=3, copy_files=4, build=5)
    settings = Worker(proposed_pocket=pocket)
    return build_command(
        make_request("gzip", parameters), QUEUE, settings, NullTestbed(None, disposable=disposable), limits
    )


def archive_options(parameters: dict[str, Any], **more: Any) -> list[str]:
    options = list(command_of(parameters, **more).options)
    return options[: options.index(LIMITS[0])]


def test_everything_in_the_contracts_order() -> None:
    found = command_of(
        {
            "triggers": ["glibc/2.39-0ubuntu8", "zlib/1"],
            "ppas": ["owner/one", "owner/two:0123456789ABCDEF"],
            "all-proposed": "1",
            "env": ["A=1 2", "B="],
            "testname": "only",
        }
    )
    assert found.options == (
        "--add-apt-source=ppa:owner/one",
        "--add-apt-source=ppa:owner/two:0123456789ABCDEF",
        "--apt-pocket=proposed",
        "--apt-upgrade",
        *LIMITS,
        "--env=A=1 2",
        "--env=B=",
        "--env=ADT_TEST_TRIGGERS=glibc/2.39-0ubuntu8 zlib/1",
        "--testname=only",
    )
    assert (found.release, found.architecture, found.package) == ("noble", "amd64", "gzip")
    assert found.git_source == ()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, []),
        ({"triggers": ["a1/1", "b1/2"]}, ["--apt-pocket=proposed=src:a1,src:b1"]),
        ({"triggers": ["migration-reference/0"]}, []),
        ({"triggers": ["migration-reference/0", "a1/1"]}, ["--apt-pocket=proposed=src:a1"]),
        ({"all-proposed": "1", "triggers": ["a1/1"]}, ["--apt-pocket=proposed"]),
        ({"ppas": ["o/n"], "triggers": ["a1/1"]}, ["--add-apt-source=ppa:o/n"]),
        ({"test-git": "https://example.org/x", "triggers": ["a1/1"], "all-proposed": "1"}, []),
        ({"build-git": "https://example.org/x", "triggers": ["a1/1"]}, ["--apt-pocket=proposed=src:a1"]),
    ],
)
def test_pocket(parameters: dict[str, Any], expected: list[str]) -> None:
    assert archive_options(parameters) == [*expected, "--apt-upgrade"]


def test_a_distribution_without_such_a_pocket() -> None:
    assert archive_options({"triggers": ["a1/1"], "all-proposed": "1"}, pocket="") == ["--apt-upgrade"]
    pocket = archive_options({"triggers": ["a1/1"]}, pocket="experimental")
    assert pocket == ["--apt-pocket=experimental=src:a1", "--apt-upgrade"]


def test_nothing_is_upgraded_where_the_testbed_stays() -> None:
    found = command_of({"ppas": ["o/n"], "all-proposed": "1", "triggers": ["a1/1"]}, disposable=False)
    assert [option for option in found.options if option.startswith(("--apt", "--add"))] == []
    assert "--env=ADT_TEST_TRIGGERS=a1/1" in found.options


def test_where_the_test_comes_from() -> None:
    tested = command_of({"test-git": "https://example.org/x main"})
    assert source_arguments(tested, None) == ("--no-built-binaries", "https://example.org/x#main")
    built = command_of({"build-git": "https://example.org/x"})
    assert source_arguments(built, None) == ("https://example.org/x",)
    both = command_of({"build-git": "https://example.org/x", "test-git": "https://example.org/y"})
    assert source_arguments(both, None) == ("--no-built-binaries", "https://example.org/y")
    assert source_arguments(command_of({}), None) == ("gzip",)


def test_credentials_are_refused_and_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        check_runnable(make_request("gzip", {"ppas": ["o/n", "user:hunter2@o/n"]}))
    assert caught.value.field == "ppas"
    assert "hunter2" not in str(caught.value)
    check_runnable(make_request("gzip", {"ppas": ["o/n"]}))
