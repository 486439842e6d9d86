# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run's log on its way to spectators: read again from what was written, so nothing waits in memory.

What this costs does not depend on the number of readers. The first `HEAD` bytes go out whole, however
fast they come; beyond them at most `_RATE` bytes a second, and of a flood only the newest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from testyard.livelog import HEAD, LogPiece
from worker.live import LiveReport
from worker.runlog import RunLog

#: Seconds between two pieces; the longer ones are for a log that came in very many pieces, which are rows
#: of the index each.
_INTERVAL, _LONG_INTERVAL, _MANY = 0.3, 1.0, 10_000
#: Bytes of one piece.
_PIECE = 64 * 1024
#: Beyond `HEAD`: bytes a second, how many may be saved up, and how many may wait for their second.
_RATE, _SAVED, _BEHIND = 512 * 1024, 2 * 1024 * 1024, 512 * 1024
#: After a part that was left out the next line begins within so many bytes, or in its middle.
_NEXT_LINE = 4096
#: Bytes that continue a character of UTF-8.
_CONTINUED = bytes(range(0x80, 0xC0))


class LiveLog:
    """Tells ``report`` of what ``log`` holds. `grown`, `flush` and `close` are for the run's thread."""

    def __init__(self, log: RunLog, report: LiveReport, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()  # the sender's thread asks for pieces
        self._told = 0
        self._pieces = 0
        self._asked = 0  # how often the sender was told that there is something
        self._last = float("-inf")
        self._allowed, self._counted = float(_SAVED), clock()
        self._closed = report.private

    def grown(self) -> None:
        """The log has grown: tell of it if it is time."""
        interval = _INTERVAL if self._pieces < _MANY else _LONG_INTERVAL
        if self._clock() - self._last >= interval:
            self.flush()

    def flush(self, *, now: bool = False) -> None:
        """Tell what there is. ``now``: before what is told next, also while earlier pieces wait."""
        size = self._log.size
        with self._lock:
            if self._closed or self._told >= size or (self._asked and not now):
                return
            self._asked += 1
            self._last = self._clock()
        if not self._report.log_made(lambda: self._until(size)):
            self._answered()

    def close(self, *, complete: bool = False) -> None:
        """Tell all that is left; with ``complete`` that nothing follows. Later calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            size = self._log.size
            rest = []
            while piece := self._next(size, final=True):
                rest.append(piece)
            if complete:
                rest.append(LogPiece("", size, size, complete=True))
        self._report.log(rest)

    def _answered(self) -> None:
        with self._lock:
            self._asked -= 1

    def _until(self, size: int) -> Iterator[LogPiece]:
        self._answered()
        while True:
            with self._lock:
                piece = None if self._closed else self._next(size, final=False)
            if piece is None:
                return
            yield piece

    def _next(self, size: int, *, final: bool) -> LogPiece | None:
        """The next piece of the log up to ``size``; None if there is none (yet)."""
        start = self._told
        if start >= size:
            return None
        if start >= HEAD:
            room = self._room()
            if size - start > room + _BEHIND:
                return self._skip(size - max(room, _BEHIND))
            if room < min(_PIECE, size - start) and not final:
                return None
        data = self._log.read(start, min(_PIECE, size - start))
        if not data:  # its file is gone
            return self._skip(size)
        end = start + len(data)
        if not (final and end == size):
            data = data[: _whole(data)]
        if not data:
            return None
        self._told = start + len(data)
        self._pieces += 1
        if start >= HEAD:
            self._allowed -= len(data)
        return LogPiece(data.decode("utf-8", errors="replace"), start, self._told)

    def _room(self) -> int:
        """How many bytes may be told now."""
        now = self._clock()
        self._allowed = min(_SAVED, max(self._allowed, 0) + _RATE * (now - self._counted))
        self._counted = now
        return int(self._allowed)

    def _skip(self, end: int) -> LogPiece:
        """Leave out what comes before ``end``, and the rest of its line."""
        following = self._log.read(end, _NEXT_LINE)
        line_end = following.find(b"\n") + 1
        rest_of_character = len(following[:3]) - len(following[:3].lstrip(_CONTINUED))
        start, self._told = self._told, end + (line_end or rest_of_character)
        return LogPiece("", start, self._told)


def _whole(data: bytes) -> int:
    """The length without a character that the end cuts."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if 0x80 <= byte < 0xC0:
            continue
        size = 4 if 0xF0 <= byte < 0xF8 else 3 if 0xE0 <= byte < 0xF0 else 2 if 0xC0 <= byte < 0xE0 else 1
        return len(data) - back if size > back else len(data)
    return len(data)
