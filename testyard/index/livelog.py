# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pieces of running logs: how they are entered, read, cut at a size, and forgotten.

Pieces may be entered in any order and more than once. A reader gets them in the log's order: what is
missing is waited for, and then told as left out.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, func, or_, select

from testyard.index.engine import insert_for
from testyard.index.rows import RequestState
from testyard.index.schema import log_piece, request
from testyard.livelog import HEAD, TAIL, LogPiece

#: Bytes by which a log grows between two looks at whether it is too long.
_STEP = 256 * 1024
#: Seconds that a missing piece is waited for: its event may have gone back to the queue.
_PATIENCE = 5.0
#: Rows that are looked at for one answer.
_MOST_ROWS = 2000


def add(connection: Connection, request_id: str, attempt: int, piece: LogPiece, *, told: float) -> None:
    """Enter a piece; ``told`` is the Unix time of its event. Of a log that is too long the middle goes."""
    insert = insert_for(connection.dialect)
    place = {"request_id": request_id, "attempt": attempt, "start": piece.start}
    connection.execute(
        insert(log_piece)
        .values(**place, until=piece.end, text=piece.text, told=told)
        .on_conflict_do_nothing()
    )
    if piece.end > HEAD + TAIL and piece.end // _STEP != piece.start // _STEP:
        _leave_out(connection, request_id, attempt, piece.end - TAIL)


def _leave_out(connection: Connection, request_id: str, attempt: int, until: int) -> None:
    """Put one piece without text in place of all between `HEAD` and ``until``."""
    middle = (
        (log_piece.c.request_id == request_id)
        & (log_piece.c.attempt == attempt)
        & (log_piece.c.start >= HEAD)
        & (log_piece.c.until <= until)
    )
    query = select(func.min(log_piece.c.start), func.max(log_piece.c.until), func.max(log_piece.c.told))
    start, end, told = connection.execute(query.where(middle)).one()
    if start is None or start == end:
        return
    connection.execute(delete(log_piece).where(middle))
    row = {"request_id": request_id, "attempt": attempt, "start": start, "until": end}
    connection.execute(log_piece.insert().values(**row, text="", told=told))


def after(
    connection: Connection, request_id: str, attempt: int, offset: int, *, limit: int = 256 * 1024
) -> tuple[LogPiece, ...]:
    """The pieces from byte ``offset`` on, without a gap; about ``limit`` bytes at most."""
    ours = (log_piece.c.request_id == request_id) & (log_piece.c.attempt == attempt)
    ahead = or_(
        log_piece.c.until > offset,
        (log_piece.c.until == offset) & (log_piece.c.start == offset),
    )
    places = select(log_piece.c.start, log_piece.c.until, log_piece.c.told).where(ours, ahead)
    rows = connection.execute(places.order_by(log_piece.c.start).limit(_MOST_ROWS)).all()
    chosen: list[tuple[int, int]] = []
    position, patient = offset, time.time() - _PATIENCE
    for start, until, told in rows:
        if start > position and told > patient:
            break
        chosen.append((start, until))
        position = max(position, until)
        if position - offset >= limit:
            break
    if not chosen:
        return ()
    query = select(log_piece.c.start, log_piece.c.text).where(
        ours, log_piece.c.start.between(chosen[0][0], chosen[-1][0])
    )
    texts = {row.start: row.text for row in connection.execute(query)}
    return _without_gaps(chosen, texts, offset)


def _without_gaps(chosen: list[tuple[int, int]], texts: dict[int, str], offset: int) -> tuple[LogPiece, ...]:
    pieces, position = [], offset
    for start, until in chosen:
        if start < until <= position:  # within what was told as left out
            continue
        if start > position:
            pieces.append(LogPiece("", position, start))
        text = texts.get(start, "")  # gone meanwhile: the middle of a long log
        place = start if text else max(start, position)
        pieces.append(LogPiece(text, place, until, complete=start == until))
        position = max(position, until)
    return tuple(pieces)


def forget(connection: Connection, request_id: str) -> None:
    """Remove all pieces of one request: its log begins anew."""
    connection.execute(delete(log_piece).where(log_piece.c.request_id == request_id))


def forget_ended(connection: Connection, *, before: float) -> int:
    """Remove the pieces of requests that ended before this Unix time; returns how many."""
    ended = [str(state) for state in (RequestState.DONE, RequestState.REJECTED, RequestState.CANCELLED)]
    told_of = select(log_piece.c.request_id).distinct().subquery()
    query = (
        select(request.c.request_id)
        .join(told_of, told_of.c.request_id == request.c.request_id)
        .where(request.c.state.in_(ended), request.c.updated < before)
    )
    found = [row.request_id for row in connection.execute(query)]
    for request_id in found:
        forget(connection, request_id)
    return len(found)
