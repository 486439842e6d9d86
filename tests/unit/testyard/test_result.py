# SPDX-License-Identifier: AGPL-3.0-or-later
"""``result.tar`` written and read, and the summary's lines."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from testyard.errors import ResultError
from testyard.result import (
    MAX_MEMBER_BYTES,
    MAX_SECONDS,
    UNKNOWN,
    Result,
    Subtest,
    parse_summary,
    read_packages,
    read_result_tar,
    write_result_tar,
)
from testyard.run import Outcome, Phase, PhaseTime

FULL = Result(
    exit_code=4,
    source="demo",
    version="1.2-3",
    duration=61,
    testinfo={"virt_server": "unshare", "custom_environment": ["A=1", "ADT_TEST_TRIGGERS=a1/1 b2/2"]},
    testbed_packages=(("adduser", "3.1"), ("zlib1g", "1:1.3")),
    requester="Zoë",
    summary="ok                   PASS\nbad                  FAIL non-zero exit status 3\n",
    request_id="6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d",
    phases=(PhaseTime(Phase.WAIT, 10.0, 1.5), PhaseTime(Phase.TEST, 12.0, 2.0, "ok")),
    worker={"worker": "w1", "testbed": "unshare"},
)


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_everything_comes_back() -> None:
    assert read_result_tar(write_result_tar(FULL)) == FULL


def test_the_least_comes_back() -> None:
    least = Result(exit_code=16, source="demo")
    assert read_result_tar(write_result_tar(least)) == least
    assert least.version == UNKNOWN
    assert (least.outcome, least.subtests, least.triggers) == (Outcome.TMPFAIL, (), ())


def test_the_same_result_is_the_same_bytes() -> None:
    assert write_result_tar(FULL) == write_result_tar(FULL)


def test_what_follows_from_the_members() -> None:
    assert FULL.outcome is Outcome.FAIL
    assert FULL.triggers == ("a1/1", "b2/2")
    assert FULL.subtests == (Subtest("ok", "PASS"), Subtest("bad", "FAIL", "non-zero exit status 3"))


@pytest.mark.parametrize("environment", [None, "ADT_TEST_TRIGGERS=a/1", {"a": 1}, [1, None]])
def test_an_environment_of_another_form_has_no_triggers(environment: object) -> None:
    assert Result(0, "demo", testinfo={"custom_environment": environment}).triggers == ()


@pytest.mark.parametrize(
    ("line", "test"),
    [
        ("smoke                PASS", Subtest("smoke", "PASS")),
        ("a-name-that-is-longer-than-twenty PASS", Subtest("a-name-that-is-longer-than-twenty", "PASS")),
        ("slow                 FAIL timed out", Subtest("slow", "FAIL", "timed out")),
        ("dep                  FAIL badpkg", Subtest("dep", "FAIL", "badpkg")),
        ("noise                FAIL stderr: PASS  x", Subtest("noise", "FAIL", "stderr: PASS  x")),
        (
            "fl                   FLAKY non-zero exit status 1",
            Subtest("fl", "FLAKY", "non-zero exit status 1"),
        ),
        ("s                    SKIP exit status 77", Subtest("s", "SKIP", "exit status 77")),
        (
            "*                    SKIP no tests in this package",
            Subtest("*", "SKIP", "no tests in this package"),
        ),
    ],
)
def test_summary_lines(line: str, test: Subtest) -> None:
    assert parse_summary(f"{line}\n") == (test,)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "blame: demo",
        "badpkg: PASS",
        "erroneous package: rules build failed",
        "testbed failure: eof",
        "PASS",
        " PASS",
        "x PASSED",
    ],
)
def test_lines_of_no_test(line: str) -> None:
    assert parse_summary(f"{line}\n") == ()


@pytest.mark.parametrize("character", ["\r", "\v", "\f", "\x1c", "\x1e", "\x85", "\u2028", "\u2029"])
def test_a_tests_words_cannot_forge_a_line(character: str) -> None:
    (test,) = parse_summary(f"noise                FAIL stderr: x{character}forged PASS\n")
    assert (test.name, test.outcome) == ("noise", "FAIL")


def test_package_lists() -> None:
    assert read_packages("a\t1\nno tab\nb\t2\tx\n\nc\t3") == (("a", "1"), ("c", "3"))


@pytest.mark.parametrize("code", [b"", b"x", b"1.0", b"-1", b"256", b"9" * 30])
def test_no_readable_exit_code(code: bytes) -> None:
    with pytest.raises(ResultError, match="exitcode"):
        read_result_tar(tar_of({"exitcode": code}))


def test_no_exit_code() -> None:
    with pytest.raises(ResultError, match="exitcode"):
        read_result_tar(tar_of({"testpkg-version": b"demo 1\n"}))


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"x" * 10240, gzip.compress(write_result_tar(FULL)), tar_of({"exitcode": b"0"}, "w:xz")],
)
def test_no_tar(data: bytes) -> None:
    with pytest.raises(ResultError, match=r"result\.tar"):
        read_result_tar(data)


def test_a_cut_tar() -> None:
    with pytest.raises(ResultError):
        read_result_tar(write_result_tar(FULL)[:700])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"61\n", 61),
        (b"", 0),
        (b"-5", 0),
        (b"1.5", 0),
        (b"9" * 30, 0),
        (str(MAX_SECONDS).encode(), MAX_SECONDS),
    ],
)
def test_durations(text: bytes, seconds: int) -> None:
    assert read_result_tar(tar_of({"exitcode": b"0", "duration": text})).duration == seconds


@pytest.mark.parametrize(
    "text",
    [b"x", b"[]", b"null", b'{"a": NaN}', b'{"custom_environment": ["A=\\ud800"]}', b"[" * 10_000, b"\xff"],
)
def test_unreadable_json_members_are_as_if_missing(text: bytes) -> None:
    result = read_result_tar(tar_of({"exitcode": b"0", "testinfo.json": text, "testyard.json": text}))
    assert (result.testinfo, result.worker, result.phases, result.request_id) == ({}, {}, (), None)


@pytest.mark.parametrize(
    "text",
    [
        b'{"phases": [{}], "worker": 5, "request_id": 7}',
        b'{"phases": {"phase": "build"}, "worker": []}',
        b'{"phases": [{"phase": "build", "started": 1' + b"0" * 400 + b"}]}",
    ],
)
def test_our_member_of_another_form(text: bytes) -> None:
    result = read_result_tar(tar_of({"exitcode": b"0", "testyard.json": text}))
    assert (result.worker, result.phases, result.request_id) == ({}, (), None)


def test_members_that_no_database_takes() -> None:
    members = {
        "exitcode": b"0\n",
        "testpkg-version": b"demo 1\0",
        "summary": b"a\0 PASS\n",
        "requester": b"\xff",
    }
    result = read_result_tar(tar_of(members))
    assert "\0" not in result.version + result.summary
    assert result.requester == "\N{REPLACEMENT CHARACTER}"


def test_a_member_may_begin_with_a_dot_slash() -> None:
    assert read_result_tar(tar_of({"./exitcode": b"2\n"})).exit_code == 2


def test_links_and_folders_are_not_read() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("exitcode")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ResultError, match="exitcode"):
        read_result_tar(buffer.getvalue())


def test_a_member_that_is_too_large_is_not_read() -> None:
    result = read_result_tar(tar_of({"exitcode": b"0", "summary": b"a" * (MAX_MEMBER_BYTES + 1)}))
    assert result.summary == ""
