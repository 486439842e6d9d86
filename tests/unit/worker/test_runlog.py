# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log: its cut, its end, what status messages show of it, and a disk that is full."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from testyard.errors import TestbedError
from worker.mask import Masker
from worker.runlog import RunLog

SEPARATOR = "\U0001f839 HEAD --- TAIL \U0001f83b"


def log_in(folder: Path, limit: int = 10**6, secrets: tuple[str, ...] = ()) -> tuple[RunLog, Path]:
    path = folder / "log"
    return RunLog(path, limit, Masker(secrets)), path


@pytest.mark.parametrize("pieces", [[b"12345678", b"9abc", b"def"], [b"1234567890", b"a", b"b"], [b"1" * 99]])
def test_cut_once_and_said_once(tmp_path: Path, pieces: list[bytes]) -> None:
    log, path = log_in(tmp_path, limit=10)
    for piece in pieces:
        log.write(piece)
    text = path.read_bytes()
    assert text[:11] == b"".join(pieces)[:10] + b"\n"
    assert text.count(b"log cut here, at 10 bytes\n") == 1
    assert log.size == len(text)
    assert log.read(0, 10**6) == text


def test_a_log_of_exactly_the_limit_is_not_cut(tmp_path: Path) -> None:
    log, path = log_in(tmp_path, limit=10)
    log.write(b"1234567890")
    assert path.read_bytes() == b"1234567890"


def test_why_a_run_failed_stands_below_the_cut(tmp_path: Path) -> None:
    log, path = log_in(tmp_path, limit=10)
    log.write(b"x" * 30)
    log.note("the testbed broke")
    log.write(b"y" * 30)
    lines = path.read_text().splitlines()
    assert lines[0] == "x" * 10
    assert re.fullmatch(r"testyard \[\d\d:\d\d:\d\d\]: the testbed broke", lines[-1])


def test_a_note_is_one_line_of_readable_text(tmp_path: Path) -> None:
    log, path = log_in(tmp_path)
    log.note("name\nautopkgtest [00:00:00]: fake \x1b[2J \udcff ü")
    text = path.read_bytes().decode()
    assert text.count("\n") == 1
    assert text.endswith("]: name\\x0aautopkgtest [00:00:00]: fake \\x1b[2J \\udcff ü\n")


def test_shown_is_head_separator_tail(tmp_path: Path) -> None:
    lines = [f"line {number} ü" for number in range(400)]
    text = "".join(f"{line}\n" for line in lines).encode()
    for size in (1, 7, 1000, len(text)):
        log, path = log_in(tmp_path)
        path.unlink(missing_ok=True)
        for start in range(0, len(text), size):
            log.write(text[start : start + size])
        head, separator, tail = log.shown().partition(f"\n{SEPARATOR}\n")
        assert head.split("\n") == lines[:5], size
        assert separator
        assert tail.split("\n")[-2:] == [lines[-1], ""]
        assert tail.split("\n")[0] in lines  # a part of a line is not shown
        assert 1950 < len(tail.encode()) <= 2000


def test_shown_of_a_short_log_and_of_none(tmp_path: Path) -> None:
    log, _ = log_in(tmp_path)
    assert log.shown() == f"\n{SEPARATOR}\n"
    log.write(b"one\ntwo \xff")
    assert log.shown() == f"one\ntwo \ufffd\n{SEPARATOR}\none\ntwo \ufffd"


def test_a_log_without_line_ends_shows_little(tmp_path: Path) -> None:
    log, _ = log_in(tmp_path, limit=10**7)
    for _ in range(40):
        log.write(b"z" * 65536)
    assert len(log.shown()) < 20000
    assert len(log.tail) == 65536


def test_full_disk_is_the_testbeds_failure_and_the_end_is_kept() -> None:
    log = RunLog(Path("/dev/full"), 10**6, Masker(()))
    with pytest.raises(TestbedError, match="cannot be written to: No space left"):
        log.write(b"the last words\n")
    packed = log.compressed_tail("no room\nat all")
    lines = gzip.decompress(packed).decode().splitlines()
    assert lines[0] == "the last words"
    assert [line.partition("]: ")[2] for line in lines[1:]] == ["no room", "at all"]


def test_secrets_are_in_neither_log_nor_what_is_shown_of_it(tmp_path: Path) -> None:
    log, path = log_in(tmp_path, secrets=("hunter2hunter2",))
    assert log.write(b"is hunter2") == b"is "  # it may be the secret's beginning
    assert log.write(b"hunter2 it\nhunter2") == b"*** it\n"
    log.note("the testbed said hunter2hunter2")
    log.write(b"hunter")
    log.settle()
    lines = path.read_text().splitlines()
    assert lines[0] == "is *** it"
    assert re.fullmatch(r"hunter2testyard \[\d\d:\d\d:\d\d\]: the testbed said \*\*\*", lines[1])
    assert lines[2] == "hunter"
    assert "hunter2hunter2" not in log.shown()
    assert b"hunter2hunter2" not in log.tail


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    log, path = log_in(tmp_path)
    written = bytes(range(256)) * 1000
    for start in range(0, len(written), 7000):
        log.write(written[start : start + 7000])
    for start, length in [(0, 10), (100_000, 70_000), (255_990, 100), (191_990, 20), (256_000, 5)]:
        assert log.read(start, length) == written[start : start + length], start
    path.unlink()
    assert log.read(0, 10) == b""
    assert log.read(255_990, 100) == written[255_990:]
