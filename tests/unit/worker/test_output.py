# SPDX-License-Identifier: AGPL-3.0-or-later
"""Output directories that test code has prepared: nothing is followed, nothing blocks, nothing grows."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
from pathlib import Path

import pytest

from testyard.request import make_request
from testyard.result import MAX_MEMBER_BYTES, Result, read_result_tar, write_result_tar
from testyard.run import Phase, PhaseTime
from worker import output

SECRET = "hunter2-of-the-worker"
RESULT = write_result_tar(Result(0, "sample", "1.0-1", summary="ok PASS\n"))
MEMBERS = {"exitcode", "testpkg-version", "duration", "testinfo.json", "summary", "testyard.json"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output directory beside a secret."""
    (tmp_path / "secret").write_text(f"sample {SECRET}\n{SECRET}\t{SECRET}\n")
    folder = tmp_path / "box" / "out"
    folder.mkdir(parents=True)
    return folder


def read(out: Path, package: str = "sample", **parameters: object) -> Result:
    request = make_request(package, parameters)
    facts = {"request_id": "id", "worker": "w"}
    return output.read_output(out, request, exit_code=0, phases=(), facts=facts)


def pack(out: Path, limit: int = 10**8) -> tuple[dict[str, tarfile.TarInfo], tuple[str, ...], bytes]:
    target = out.parent.parent / "artifacts.tar.gz"
    left_out = output.pack_artifacts(out, target, result=RESULT, limit=limit)
    content = b""
    with tarfile.open(target) as tar:
        found = {info.name: info for info in tar}
        assert len(found) == len(tar.getmembers())
        for info in found.values():
            stream = tar.extractfile(info) if info.isreg() else None
            content += stream.read() if stream else b""
    return found, left_out, content


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0, 0),
        (2, 2),
        (4, 4),
        (8, 8),
        (12, 12),
        (16, 16),
        (20, 20),
        (1, 20),
        (-9, 16),
        (-15, 16),
        (137, 16),
        (143, 16),
    ],
)
def test_exit_code(status: int, code: int) -> None:
    assert output.exit_code_of(status) == code


def test_a_good_run(out: Path) -> None:
    (out / "testpkg-version").write_text("sample 1.0-1\n")
    (out / "testinfo.json").write_text('{"virt_server": "null", "custom_environment": ["A=1"]}')
    (out / "testbed-packages").write_text("dpkg\t1.21\nno tab\n")
    (out / "summary").write_text("ok                   PASS\n")
    phases = (
        PhaseTime(Phase.WAIT, 0, 100.0),
        PhaseTime(Phase.TEST, 100, 2.4, "ok"),
        PhaseTime(Phase.FINISH, 103, 1.3),
        PhaseTime(Phase.UPLOAD, 104, 50.0),
    )
    request = make_request("sample", {"requester": "someone", "env": ["A=1"], "triggers": ["x1/1", "y1/2"]})
    found = output.read_output(
        out, request, exit_code=2, phases=phases, facts={"request_id": "id", "worker": "w", "testbed": "t"}
    )
    assert (found.exit_code, found.source, found.version, found.duration) == (2, "sample", "1.0-1", 4)
    assert found.testinfo["virt_server"] == "null"
    assert found.testinfo["custom_environment"] == ["A=1", "ADT_TEST_TRIGGERS=x1/1 y1/2"]
    assert found.triggers == ("x1/1", "y1/2")
    assert found.testbed_packages == (("dpkg", "1.21"),)
    assert [(test.name, test.outcome) for test in found.subtests] == [("ok", "PASS")]
    assert (found.requester, found.request_id) == ("someone", "id")
    assert found.worker == {"worker": "w", "testbed": "t"}
    assert read_result_tar(write_result_tar(found)) == found


def test_no_output_at_all(tmp_path: Path) -> None:
    found = read(tmp_path / "nothing" / "out", triggers=["x1/1"])
    assert (found.version, found.summary, found.testbed_packages) == ("unknown", "", ())
    assert found.triggers == ("x1/1",)
    assert read_result_tar(write_result_tar(found)) == found


def test_triggers_are_not_the_tests_to_tell(out: Path) -> None:
    (out / "testinfo.json").write_text('{"custom_environment": ["ADT_TEST_TRIGGERS=glibc/2"]}')
    assert read(out).triggers == ()
    assert read(out, triggers=["x1/1"]).triggers == ("x1/1",)


def test_links_are_not_followed(out: Path) -> None:
    for name in ("testpkg-version", "testinfo.json", "testbed-packages", "summary"):
        (out / name).symlink_to("../../secret" if name != "summary" else "/etc/passwd")
    found = read(out)
    assert (found.version, found.summary, found.testbed_packages) == ("unknown", "", ())
    data = write_result_tar(found)
    assert SECRET.encode() not in data
    assert b"root:" not in data


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """A testbed may write to the folder that holds its output directory."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in ("testpkg-version", "testbed-packages", "summary", "other"):
        (folder / name).write_text(f"sample {SECRET}\nx\t{SECRET}\n")
    (tmp_path / "box").mkdir()
    out = tmp_path / "box" / "out"
    out.symlink_to(folder)
    assert SECRET.encode() not in write_result_tar(read(out))
    found, _, content = pack(out)
    assert set(found) == MEMBERS
    assert SECRET.encode() not in content


@pytest.mark.timeout(10)
def test_pipes_sockets_and_folders_do_not_block(out: Path) -> None:
    os.mkfifo(out / "summary")
    os.mkfifo(out / "testinfo.json")
    (out / "testbed-packages").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(out / "testpkg-version"))
        found = read(out)
    assert (found.version, found.summary, found.testbed_packages) == ("unknown", "", ())


def test_a_huge_file_is_read_to_a_limit(out: Path) -> None:
    with (out / "summary").open("wb") as file:
        file.write(b"ok PASS\n")
        file.truncate(10**12)  # a hole: takes no room
    found = read(out)
    assert len(found.summary) == MAX_MEMBER_BYTES
    assert found.summary.startswith("ok PASS\n")


def test_text_that_is_not_utf8(out: Path) -> None:
    (out / "summary").write_bytes(b"ok PASS \xff\xfe\n")
    assert read(out).summary == "ok PASS \ufffd\ufffd\n"


@pytest.mark.parametrize(
    "text",
    ["other 1.0", "sample", "sample 1.0 more", "", "sample 1\x000", f"sample {'1' * 5000}", "sample <b>"],
)
def test_a_version_that_is_none(out: Path, text: str) -> None:
    (out / "testpkg-version").write_text(text)
    assert read(out).version == "unknown"


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "no json",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"a":' * 900 + "1" + "}" * 900,
        "[" * 10**6,
        '{"a": ' + "9" * 10000 + "}",
    ],
    ids=["list", "text", "nan", "infinity", "surrogate", "deep", "deeper", "number"],
)
def test_testinfo_that_readers_could_not_take(out: Path, text: str) -> None:
    (out / "testinfo.json").write_text(text)
    found = read(out)
    assert found.testinfo == {"custom_environment": []}
    assert read_result_tar(write_result_tar(found)) == found


def test_artifacts_hold_the_results_members_and_not_the_log(out: Path) -> None:
    for name in ("log", "exitcode", "summary", "ok-stdout"):
        (out / name).write_text(f"{name} of the test\n")
    found, left_out, content = pack(out)
    assert set(found) == MEMBERS | {"ok-stdout"}
    assert left_out == ()
    assert b"summary of the test" not in content
    assert b"ok PASS\n" in content


def test_links_stay_links(out: Path) -> None:
    (out / "passwd").symlink_to("/etc/passwd")
    (out / "folder").symlink_to("/etc")
    (out / "up").symlink_to("../../secret")
    found, left_out, content = pack(out)
    assert {name: found[name].linkname for name in ("passwd", "folder", "up")} == {
        "passwd": "/etc/passwd",
        "folder": "/etc",
        "up": "../../secret",
    }
    assert all(found[name].issym() for name in ("passwd", "folder", "up"))
    assert len(found) == len(MEMBERS) + 3  # nothing from behind a link
    assert b"root:" not in content
    assert SECRET.encode() not in content
    assert left_out == ()


def test_hard_links_are_files(out: Path) -> None:
    (out / "a").write_bytes(b"x" * 3000)
    (out / "b").hardlink_to(out / "a")
    found, left_out, _ = pack(out)
    assert [(found[name].isreg(), found[name].size) for name in "ab"] == [(True, 3000), (True, 3000)]
    assert left_out == ()


@pytest.mark.timeout(10)
def test_what_is_no_file_is_left_out_and_named(out: Path) -> None:
    os.mkfifo(out / "pipe")
    (out / "deep").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(out / "deep" / "socket"))
        found, left_out, _ = pack(out)
    assert set(found) == MEMBERS | {"deep"}
    assert sorted(line.partition(":")[0] for line in left_out) == ["deep/socket", "pipe"]


def test_what_exceeds_the_limit_is_left_out_and_named(out: Path) -> None:
    (out / "a-small").write_bytes(b"s" * 1000)
    with (out / "b-huge").open("wb") as file:
        file.truncate(10**12)
    (out / "c-small").write_bytes(b"s" * 1000)
    for number in range(200):
        (out / f"d{number}").mkdir()
    found, left_out, _ = pack(out, limit=50_000)
    assert {"a-small", "c-small"} <= set(found)
    assert "b-huge" not in found
    assert left_out[0].startswith("b-huge: 1000000000000 bytes")
    assert (
        0 < sum(name.startswith("d") and name[1:].isdigit() for name in found) < 100
    )  # headers take room too


def test_what_is_nested_too_deep_is_left_out_and_named(out: Path) -> None:
    folder = out.joinpath(*"d" * 80)
    folder.mkdir(parents=True)
    (folder / "file").write_text("deep")
    (out / "file").write_text("high")
    found, left_out, content = pack(out)
    deepest = "/".join("d" * 65)
    assert {"file", deepest} <= set(found)
    assert f"{deepest}/d" not in found
    assert left_out == (f"{deepest}: what is in it: more than 64 folders deep",)
    assert b"deep" not in content


def test_more_entries_than_allowed_are_left_out_and_told(out: Path) -> None:
    for name in ("a", "b"):
        (out / name).mkdir()
        for number in range(10):
            (out / name / f"{number}").write_text("")
    target = out.parent.parent / "artifacts.tar.gz"
    left_out = output.pack_artifacts(out, target, result=RESULT, limit=10**8, most=7)
    with tarfile.open(target) as tar:
        assert len(set(tar.getnames()) - MEMBERS) == 7
    assert left_out == ("all beyond the first 7 entries",)
    assert output.pack_artifacts(out, target, result=RESULT, limit=10**8, most=22) == ()


def test_any_name_is_taken(out: Path) -> None:
    names = [b"...", b"..x", b"-rf", b" ", b"a\nb", b"\x1b[2J", b"n\xff", "ü".encode(), b"x" * 255]
    for name in names:
        Path(os.fsdecode(bytes(out) + b"/" + name)).write_bytes(b"")
    found, left_out, _ = pack(out)
    assert set(found) - MEMBERS == {os.fsdecode(name) for name in names}
    assert left_out == ()


def test_owners_are_not_told(out: Path) -> None:
    (out / "file").write_text("")
    os.chown(out / "file", os.getuid() and -1, os.getgid() and -1)
    found, _, _ = pack(out)
    info = found["file"]
    assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "root", "root")


def test_members_are_copied_as_they_are() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        assert output.add_members(tar, RESULT) == MEMBERS
    assert read_result_tar(buffer.getvalue()) == read_result_tar(RESULT)
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        stream = tar.extractfile("testyard.json")
        assert stream is not None
        assert set(json.loads(stream.read())) == {"request_id", "phases", "worker"}
