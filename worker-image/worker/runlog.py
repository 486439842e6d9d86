# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log of one run: written to a file as it comes, cut at a size, its tail kept in memory."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

from testyard.errors import TestbedError

#: Kept in memory: enough to tell why a run failed when the disk is full.
_TAIL = 64 * 1024
#: The first lines that status messages show (contract of ``logtail``), and the last bytes.
_HEAD_LINES = 5
_SHOWN_BYTES = 2000


class RunLog:
    """``on_data`` is told every piece that was written and the log's length after it, in bytes."""

    def __init__(self, path: Path, limit: int, on_data: Callable[[bytes, int], None]) -> None:
        self._path = path
        self._limit = limit
        self._on_data = on_data
        self._head: list[bytes] = []
        self.size = 0
        self.tail = b""

    def write(self, data: bytes) -> None:
        """Append; what is beyond the limit is dropped, and the log says so once.

        Raises TestbedError if the disk is full or broken.
        """
        if self.size >= self._limit:
            return
        if self.size + len(data) > self._limit:
            data = data[: self._limit - self.size] + b"\n" + _line(f"log cut here, at {self._limit} bytes")
        try:
            with self._path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise TestbedError(
                f"the worker's folder cannot be written to: {error.strerror}",
                resolution="Make room on the worker's disk, or move worker.work_dir to a larger one.",
            ) from error
        finally:
            self._remember(data)

    def note(self, text: str) -> None:
        """Append a line of our own, in autopkgtest's form. Raises TestbedError."""
        self.write(_line(text))

    def shown(self) -> str:
        """What status messages show: the first lines, a line between, the last bytes."""
        head = b"\n".join(self._head).decode("utf-8", errors="replace")
        last = self.tail[-_SHOWN_BYTES:].decode("utf-8", errors="replace")
        if self.size > _SHOWN_BYTES:
            last = last.partition("\n")[2]
        return f"{head}\n\U0001f839 HEAD --- TAIL \U0001f83b\n{last}"

    def compressed_tail(self, ending: str) -> bytes:
        """A ``log.gz`` from what is in memory: for when the file cannot be had."""
        return gzip.compress(self.tail + b"".join(_line(line) for line in ending.splitlines()), mtime=0)

    def _remember(self, data: bytes) -> None:
        self.size += len(data)
        self.tail = (self.tail + data)[-_TAIL:]
        if len(self._head) < _HEAD_LINES:
            self._head = (b"\n".join([*self._head, *data.split(b"\n", _HEAD_LINES)])).split(b"\n")[
                :_HEAD_LINES
            ]
        self._on_data(data, self.size)


def _line(text: str) -> bytes:
    return f"testyard [{time.strftime('%H:%M:%S', time.gmtime())}]: {text}\n".encode()
