# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running log in the index: entered in any order, read in its own; its middle goes, its ends stay."""

from __future__ import annotations

import random
import time

import pytest
from sqlalchemy import Connection, func, select

from testyard.event import Event, EventKind
from testyard.index import livelog
from testyard.index.schema import log_piece
from testyard.index.write import apply_event
from testyard.livelog import HEAD, TAIL, LogPiece

ID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"
OTHER = "7f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1e"


def add(index: Connection, *pieces: LogPiece, told: float = 1.0, attempt: int = 1) -> None:
    for piece in pieces:
        livelog.add(index, ID, attempt, piece, told=told)


def whole(index: Connection, offset: int = 0, *, limit: int = 256 * 1024) -> list[LogPiece]:
    """All pieces, in as many answers as it takes."""
    found: list[LogPiece] = []
    while answer := livelog.after(index, ID, 1, offset, limit=limit):
        found += answer
        offset = answer[-1].end
        if answer[-1].complete:
            break
    return found


def test_pieces_told_in_any_order_and_twice(index: Connection) -> None:
    pieces = [LogPiece(f"{number:04}\n", 5 * number, 5 * number + 5) for number in range(300)]
    ending = LogPiece("", 1500, 1500, complete=True)
    shuffled = [*pieces, *pieces[:50], ending]
    random.Random(5).shuffle(shuffled)
    add(index, *shuffled)
    for limit in (1, 64, 10**6):
        assert whole(index, limit=limit) == [*pieces, ending]
    assert whole(index, 1490) == [*pieces[298:], ending]
    assert livelog.after(index, ID, 1, 1501) == ()
    assert livelog.after(index, ID, 2, 0) == ()
    assert livelog.after(index, OTHER, 1, 0) == ()


def test_a_missing_piece_is_waited_for_and_then_told_as_left_out(index: Connection) -> None:
    one, two, three = LogPiece("one\n", 0, 4), LogPiece("two\n", 4, 8), LogPiece("three\n", 8, 14)
    add(index, one)
    add(index, three, told=time.time())
    assert livelog.after(index, ID, 1, 0) == (one,)
    assert livelog.after(index, ID, 1, 4) == ()
    add(index, two)
    assert livelog.after(index, ID, 1, 4) == (two, three)
    add(index, LogPiece("late\n", 20, 25), told=time.time() - 6)
    assert livelog.after(index, ID, 1, 14) == (LogPiece("", 14, 20), LogPiece("late\n", 20, 25))


@pytest.mark.parametrize("size", [60_000, 65_536])
def test_of_a_long_log_the_middle_goes(index: Connection, size: int) -> None:
    text = "x" * (size - 1) + "\n"
    total = 20 * 2**20
    for start in range(0, total, size):
        add(index, LogPiece(text, start, start + size))
    found = whole(index)
    assert found[0] == LogPiece(text, 0, size)
    gaps = [piece for piece in found if piece.left_out]
    assert len(gaps) == 1
    assert HEAD <= gaps[0].start < HEAD + size
    kept = sum(len(piece.text) for piece in found)
    assert HEAD + TAIL <= kept <= HEAD + TAIL + 2**19
    assert kept + gaps[0].left_out == found[-1].end
    # a reader who was in the midst of it goes on where it begins again
    inside = (gaps[0].start + gaps[0].end) // 2
    assert livelog.after(index, ID, 1, inside)[0] == LogPiece("", inside, gaps[0].end)
    rows = index.execute(select(func.count()).select_from(log_piece)).scalar_one()
    assert rows == len(found)
    add(index, LogPiece(text, inside // size * size, inside // size * size + size))  # one that comes late
    assert whole(index) == found


def event(kind: EventKind, when: float, **data: object) -> Event:
    return Event(kind, ID, "debci-noble-amd64", "gzip", time=when, data=data)


def log_event(when: float, text: str, start: int) -> Event:
    return event(EventKind.LOG, when, text=text, start=start, end=start + len(text))


def test_events_make_a_log_that_begins_anew_with_each_attempt(index: Connection) -> None:
    apply_event(index, log_event(1, "before\n", 0))  # nobody knows what it belongs to
    apply_event(index, event(EventKind.TAKEN, 2, worker="w1"))
    apply_event(index, log_event(3, "one\n", 0))
    apply_event(index, log_event(4, "t\0o\n", 4))
    assert [piece.text for piece in whole(index)] == ["one\n", "t\ufffdo\n"]
    apply_event(index, event(EventKind.TAKEN, 2, worker="w1"))  # told twice
    assert len(whole(index)) == 2
    apply_event(index, event(EventKind.TAKEN, 10, worker="w2"))
    assert whole(index) == []
    apply_event(index, log_event(5, "old\n", 8))
    apply_event(index, log_event(11, "new\n", 0))
    assert livelog.after(index, ID, 1, 0) == ()
    assert livelog.after(index, ID, 2, 0) == (LogPiece("new\n", 0, 4),)


def test_the_last_pieces_may_come_after_the_result_and_go_some_time_later(index: Connection) -> None:
    apply_event(index, event(EventKind.TAKEN, 2, worker="w1"))
    apply_event(index, log_event(3, "one\n", 0))
    apply_event(index, event(EventKind.STORED, 9, container="autopkgtest-noble"))
    apply_event(index, log_event(4, "two\n", 4))
    apply_event(index, event(EventKind.LOG, 5, text="", start=8, end=8, complete=True))
    assert [piece.text for piece in whole(index)] == ["one\n", "two\n", ""]
    assert whole(index)[-1].complete
    assert livelog.forget_ended(index, before=9) == 0
    assert livelog.forget_ended(index, before=10) == 1
    assert whole(index) == []
    assert livelog.forget_ended(index, before=10) == 0
