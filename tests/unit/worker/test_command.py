# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's arguments: their order is a contract with the older worker's users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testyard.errors import LastingTestbedError, RequestError
from testyard.queue import QueueName
from testyard.reproduce import recipe
from testyard.request import make_request
from testyard.settings import Timeouts, Worker
from worker.command import build_command, check_runnable, knows_foreign
from worker.reproduce import line_of
from worker.testbed.base import Command, source_arguments
from worker.testbed.null import NullTestbed

QUEUE = QueueName("ubuntu", "noble", "amd64")
CHECK = (
    "--setup-commands=grep -rqse '-proposed' /etc/apt/sources.list /etc/apt/sources.list.d || { echo "
    "'testyard: no pocket proposed: autopkgtest cannot read the testbed sources'; exit 1; }"
)
ARCHIVES = (
    "--copy=/w/archives:/run/testyard-archives",
    "--setup-commands=sh /run/testyard-archives/install",
)
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
    archives = Path("/w/archives") if parameters.get("ppas") else None
    testbed = NullTestbed(None, disposable=disposable)
    request = make_request("gzip", parameters)
    return build_command(request, QUEUE, settings, testbed, limits, archives=archives)


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
        *ARCHIVES,
        "--apt-pocket=proposed",
        CHECK,
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
        ({"ppas": ["o/n"], "triggers": ["a1/1"]}, [*ARCHIVES]),
        ({"test-git": "https://example.org/x", "triggers": ["a1/1"], "all-proposed": "1"}, []),
        ({"build-git": "https://example.org/x", "triggers": ["a1/1"]}, ["--apt-pocket=proposed=src:a1"]),
    ],
)
def test_pocket(parameters: dict[str, Any], expected: list[str]) -> None:
    found = [option for option in archive_options(parameters) if option != CHECK]
    assert found == [*expected, "--apt-upgrade"]
    assert (CHECK in archive_options(parameters)) is any("pocket" in option for option in expected)


def test_a_distribution_without_such_a_pocket() -> None:
    assert archive_options({"triggers": ["a1/1"], "all-proposed": "1"}, pocket="") == ["--apt-upgrade"]
    pocket = archive_options({"triggers": ["a1/1"]}, pocket="experimental")
    assert pocket[0] == "--apt-pocket=experimental=src:a1"
    assert "'-experimental'" in pocket[1]
    assert pocket[2:] == ["--apt-upgrade"]


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


def test_no_branch_of_bazaar() -> None:
    with pytest.raises(RequestError) as caught:
        check_runnable(make_request("gzip", {"test-bzr": "lp:gzip"}))
    assert caught.value.field == "test-bzr"
    check_runnable(make_request("gzip", {"test-bzr": ""}))


def test_an_architecture_without_internet_and_a_foreign_one() -> None:
    queue = QueueName("ubuntu", "noble", "riscv64")
    about = (make_request("gzip", {}), queue, Worker(), NullTestbed(None), Timeouts())
    assert build_command(*about).options[0] == "--needs-internet=skip"
    assert not any("internet" in option for option in command_of({}).options)
    foreign = Worker(foreign={"amd64": "s390x"})
    about = (make_request("gzip", {}), QUEUE, foreign, NullTestbed(None), Timeouts())
    if knows_foreign():
        command = build_command(*about)
        assert (command.architecture, command.options[0]) == ("s390x", "--architecture=amd64")
    else:
        with pytest.raises(LastingTestbedError, match="cannot test amd64 in testbeds of s390x"):
            build_command(*about)


def test_the_command_that_a_result_carries(tmp_path: Path) -> None:
    parameters = {
        "triggers": ["zlib/1"],
        "ppas": ["owner/one", "me:s3cret@owner/two"],
        "all-proposed": "1",
        "env": ["A=1 2"],
        "swiftuser": "reader",
    }
    request = make_request("gzip", parameters)
    line = line_of(command_of(parameters), request, Worker(source_dir=tmp_path), "unshare")
    words = recipe(line, "noble", "amd64")
    assert words[-5:] == ("gzip", "--", "unshare", "--release=noble", "--arch=amd64")
    assert "--apt-pocket=proposed" in words
    assert "--env=ADT_TEST_TRIGGERS=zlib/1" in words
    (archives,) = [word for word in words if word.startswith("--setup-commands")]
    assert archives.count("//ppa.launchpadcontent.net/owner/one/ubuntu noble main") == 2
    assert archives.count("private-ppa.launchpadcontent.net/owner/two/ubuntu noble main") == 2
    assert "s3cret" not in line
    assert "/w/" not in line
    machine = line_of(command_of(parameters), request, Worker(), "qemu/kvm")
    assert machine.endswith(" -- qemu autopkgtest-noble-amd64.img")
    secret = {"env": ["API_TOKEN=hunter2hunter2", "DB_PASSWORD=two words, three", "PLAIN=two words"]}
    line = line_of(command_of(secret), make_request("gzip", secret), Worker(), "unshare")
    assert not [word for word in ("hunter2", "three") if word in line]
    told = [word for word in recipe(line, "noble", "amd64") if word.startswith("--env=")]
    assert told == ["--env=API_TOKEN=***", "--env=DB_PASSWORD=***", "--env=PLAIN=two words"]
    git = make_request("gzip", {"test-git": "https://example.org/x main"})
    line = line_of(command_of({"test-git": "https://example.org/x main"}), git, Worker(), "null")
    assert line.endswith(" --no-built-binaries 'https://example.org/x#main' -- null")
