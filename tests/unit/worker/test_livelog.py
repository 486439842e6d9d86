# SPDX-License-Identifier: AGPL-3.0-or-later
"""What spectators are told of a log: every byte once, in order, whole characters; of a flood the newest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import pytest

from testyard.livelog import HEAD, LogPiece
from testyard.queue import QueueName
from testyard.request import make_request
from worker.live import LiveReport, LiveSender, Message
from worker.livelog import LiveLog
from worker.mask import Masker
from worker.runlog import RunLog

ID = "0b0f7a1e-5a39-4c6e-9d53-3a4b6f0c2d11"
QUEUE = QueueName("ubuntu", "noble", "amd64")


class Asked(LiveReport):
    """Keeps what it is told; the sender's thread is the test itself: `answer`."""

    def __init__(self, **parameters: object) -> None:
        super().__init__(LiveSender("amqp://127.0.0.1:1/"), make_request("demo", parameters), ID, QUEUE)
        self.makers: list[Callable[[], Iterable[LogPiece]]] = []
        self.told: list[LogPiece] = []

    def log(self, pieces: Iterable[LogPiece]) -> None:
        self.told += pieces

    def log_made(self, pieces: Callable[[], Iterable[LogPiece]]) -> bool:
        self.makers.append(pieces)
        return True

    def answer(self) -> None:
        waiting, self.makers = self.makers, []
        for maker in waiting:
            self.told += maker()

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.told)


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A log and its spectators."""

    def __init__(self, folder: Path, **parameters: object) -> None:
        self.clock = Clock()
        self.report = Asked(**parameters)
        self.path = folder / "log"
        self.log = RunLog(self.path, 10**9, Masker(()))
        self.live = LiveLog(self.log, self.report, self.clock)

    def write(self, data: bytes) -> None:
        self.log.write(data)
        self.live.grown()

    @property
    def gapless(self) -> bool:
        places = [(piece.start, piece.end) for piece in self.report.told]
        return [start for start, _ in places] == [0, *(end for _, end in places)][:-1]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_all_is_told_once_and_in_order(run: Run) -> None:
    chance = random.Random(3)
    lines = [f"line {number} ä€😀 " + "x" * chance.randint(0, 300) + "\n" for number in range(3000)]
    data = "".join(lines).encode()
    position = 0
    while position < len(data):
        size = chance.randint(1, 9000)
        run.write(data[position : position + size])
        position += size
        run.clock.now += chance.choice([0.0, 0.1, 0.4])
        if chance.random() < 0.3:
            run.live.flush(now=chance.random() < 0.5)
        if chance.random() < 0.5:
            run.report.answer()
    run.live.close(complete=True)
    assert run.report.text == data.decode()
    assert run.gapless
    assert run.report.told[-1] == LogPiece("", len(data), len(data), complete=True)
    run.report.answer()
    run.live.close(complete=True)
    assert run.report.text == data.decode(), "and nothing twice"


def test_no_more_than_one_ticket_waits_for_a_broker_that_is_away(run: Run) -> None:
    for number in range(1000):
        run.write(b"%d\n" % number)
        run.clock.now += 1
        run.live.flush()
    assert len(run.report.makers) == 1
    run.report.answer()
    run.live.flush()
    run.report.answer()
    assert run.report.text.split() == [str(number) for number in range(1000)]


@pytest.mark.parametrize("text", ["aé", "a€", "a😀"])
def test_a_character_cut_by_a_read_stays_whole(run: Run, text: str) -> None:
    for byte in text.encode():
        run.write(bytes([byte]))
        run.clock.now += 1
        run.live.flush()
        run.report.answer()
    assert run.report.text == text
    assert run.gapless


def test_what_is_no_utf8_is_replaced_and_keeps_its_place(run: Run) -> None:
    data = b"a\xff\xfe\x80b\x00\x1b[31m\r50%\r100%\n\xc3"
    for byte in data:
        run.write(bytes([byte]))
        run.clock.now += 1
        run.live.flush()
        run.report.answer()
    assert run.report.told[-1].end == len(data) - 1  # the last byte may begin a character
    run.live.close(complete=True)
    assert run.report.text == "a\ufffd\ufffd\ufffdb\0\x1b[31m\r50%\r100%\n\ufffd"
    assert run.gapless
    assert run.path.read_bytes() == data


def test_a_line_without_end_is_told_in_pieces(run: Run) -> None:
    data = "ß".encode() * 600_000
    run.write(b"x" + data)
    run.report.answer()
    run.live.close(complete=True)
    assert run.report.text == "x" + data.decode()
    assert all(len(piece.text) <= 65536 for piece in run.report.told)


def test_a_flood_is_told_whole_at_first_and_then_its_newest_part(run: Run) -> None:
    line = b"flood of the quick brown fox, a line like any other, 0123456789\n"
    block = line * 1024  # 64 KiB
    for _ in range(640):  # 40 MiB in 6.4 s
        run.write(block)
        run.clock.now += 0.01
        run.report.answer()
    run.write(b"the last words\n")
    run.live.close(complete=True)
    told = run.report.told
    assert run.gapless
    first_gap = next(piece for piece in told if piece.left_out)
    assert first_gap.start >= HEAD
    sent = sum(len(piece.text) for piece in told)
    assert HEAD + 2**20 < sent < HEAD + 8 * 2**20
    assert run.report.text.endswith("the last words\n")
    after_gaps = [after for gap, after in pairwise(told) if gap.left_out and after.text]
    assert after_gaps
    assert all(piece.text.startswith("flood of") for piece in after_gaps), "a gap ends with a line"


def test_beyond_the_beginning_a_usual_log_is_told_whole(run: Run) -> None:
    line = b"x" * 99 + b"\n"
    for _ in range(3000):  # 300 kB a second
        run.write(line * 300)
        run.clock.now += 0.1
        run.report.answer()
    run.live.close()
    assert not any(piece.left_out for piece in run.report.told)


def test_a_folder_that_is_gone_is_a_gap(run: Run) -> None:
    run.write(b"x" * 100_000)
    run.path.unlink()
    run.report.answer()
    assert [(piece.text, piece.start, piece.end) for piece in run.report.told] == [("", 0, 100_000)]


def test_nothing_is_told_of_a_private_log(tmp_path: Path) -> None:
    run = Run(tmp_path, swiftuser="reader")
    run.write(b"secret words\n")
    run.live.flush(now=True)
    run.live.close(complete=True)
    assert (run.report.makers, run.report.told) == ([], [])
    sender = LiveSender("amqp://127.0.0.1:1/")
    sent: list[Message] = []
    sender.send = sent.append  # type: ignore[method-assign]
    LiveReport(sender, make_request("demo", {"swiftuser": "reader"}), ID, QUEUE).log([LogPiece("x", 0, 1)])
    assert sent == []
