# SPDX-License-Identifier: AGPL-3.0-or-later
"""``result.tar``, exit codes, paths and containers."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from tests.contract.golden import load, tar_of
from testyard import store
from testyard.result import Result, Subtest, read_result_tar, write_result_tar
from testyard.run import EXIT_CODES, Phase, PhaseTime, RunId, outcome_of
from testyard.store import RunPath, container_name

RESULT = Result(
    exit_code=4,
    source="demo",
    version="1.2-3",
    duration=61,
    testinfo={
        "virt_server": "autopkgtest-virt-unshare",
        "nproc": "2",
        "custom_environment": ["ADT_TEST_TRIGGERS=alpha/1.0-1 beta/2"],
    },
    testbed_packages=(("adduser", "3.137"), ("zlib1g", "1:1.3-1")),
    requester="some-user",
    summary=(
        "smoke                PASS\nslow                 FAIL timed out\n"
        "half                 SKIP exit status 77 and marked as skippable\n"
        "odd                  FLAKY non-zero exit status 1\n"
    ),
    request_id="11112222-3333-4444-8555-666677778888",
    phases=(PhaseTime(Phase.TEST, 100.5, 2.25, "smoke"),),
    worker={"worker": "w1"},
)


def members_of(data: bytes) -> list[list[str]]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for info in tar:
            stream = tar.extractfile(info)
            assert info.isreg()
            assert stream
            found.append([info.name, stream.read().decode()])
    return found


def test_the_members_in_their_order() -> None:
    assert members_of(write_result_tar(RESULT)) == load("result-members.json")


def test_the_golden_members_are_read() -> None:
    result = read_result_tar(tar_of(load("result-members.json")))
    assert result == RESULT
    assert result.subtests == (
        Subtest("smoke", "PASS"),
        Subtest("slow", "FAIL", "timed out"),
        Subtest("half", "SKIP", "exit status 77 and marked as skippable"),
        Subtest("odd", "FLAKY", "non-zero exit status 1"),
    )


def test_the_least_result_has_what_is_always_there() -> None:
    names = [name for name, _ in members_of(write_result_tar(Result(exit_code=16, source="demo")))]
    assert names == ["exitcode", "testpkg-version", "duration", "testinfo.json", "testyard.json"]


def test_the_tar_is_not_compressed() -> None:
    data = write_result_tar(RESULT)
    assert data[257:262] == b"ustar"
    assert len(data) % 10240 == 0


def britney_reads(data: bytes) -> tuple[int, str, str, list[str]]:
    """Code, source, version and triggers, in the way of the migration software's own reader."""
    with tarfile.open(None, "r", io.BytesIO(data)) as tar:

        def text(name: str) -> str:
            stream = tar.extractfile(name)
            assert stream
            return stream.read().decode()

        code = int(text("exitcode").strip())
        source, version = text("testpkg-version").split()
        environment = json.loads(text("testinfo.json"))["custom_environment"]
    triggers = [
        item.split("=", 1)[1].split() for item in environment if item.startswith("ADT_TEST_TRIGGERS=")
    ]
    return code, source, version, triggers[0]


def test_britney_reads_it() -> None:
    assert britney_reads(write_result_tar(RESULT)) == (4, "demo", "1.2-3", ["alpha/1.0-1", "beta/2"])


def test_britney_reads_a_run_that_died_early() -> None:
    result = Result(
        exit_code=16, source="demo", testinfo={"custom_environment": ["ADT_TEST_TRIGGERS=alpha/1"]}
    )
    assert britney_reads(write_result_tar(result)) == (16, "demo", "unknown", ["alpha/1"])


@pytest.mark.parametrize("case", load("older-results.json"), ids=lambda case: str(case["name"]))
def test_results_of_an_older_system(case: dict[str, Any]) -> None:
    result = read_result_tar(tar_of(case["members"]))
    found = {key: getattr(result, key) for key in case["read"]}
    if "subtests" in found:
        found["subtests"] = [(test.name, test.outcome, test.reason) for test in found["subtests"]]
    assert json.loads(json.dumps(found)) == case["read"]
    path = RunPath("noble", "amd64", "demo", RunId(case["run_id"]))
    assert RunPath.parse(f"noble/amd64/d/demo/{case['run_id']}") == path
    assert f"{path.run_id.time:%Y%m%d_%H%M%S}" == case["run_id"][:15]


def test_exit_codes() -> None:
    table = load("exit-codes.json")
    assert {code: str(outcome_of(int(code))) for code in table} == table
    assert {str(code) for code in EXIT_CODES} == {code for code in table if table[code] != "otherfail"}


@pytest.mark.parametrize(("release", "architecture", "source", "run_id", "text"), load("paths.json"))
def test_paths(release: str, architecture: str, source: str, run_id: str, text: str) -> None:
    path = RunPath(release, architecture, source, RunId(run_id))
    assert str(path) == text
    assert RunPath.parse(text) == path


@pytest.mark.parametrize(("release", "ppas", "private", "name"), load("containers.json"))
def test_containers(release: str, ppas: list[str], private: bool, name: str) -> None:
    assert container_name(release, ppas, private=private) == name


def test_names_in_the_store() -> None:
    assert (store.RESULT, store.LOG, store.ARTIFACTS) == ("result.tar", "log.gz", "artifacts.tar.gz")
    assert store.READABLE_BY == "readable-by"
    assert set(store.PUBLIC_READ.split(",")) == {".rlistings", ".r:*"}
