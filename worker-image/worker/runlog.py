# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log of one run: written to a file as it comes, cut at a size, its tail kept in memory."""

from __future__ import annotations

import gzip
import re
import threading
import time
from pathlib import Path

from testyard.errors import TestbedError
from worker.mask import Masker

#: Kept in memory: enough to tell why a run failed when the disk is full.
_TAIL = 64 * 1024
#: The first lines that status messages show (contract of ``logtail``), and the last bytes.
_HEAD_LINES = 5
_SHOWN_BYTES = 2000
#: The first lines are not longer, together.
_HEAD_BYTES = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class RunLog:
    """``masker`` takes out what nobody may read. For use by one thread; others may `read`."""

    def __init__(self, path: Path, limit: int, masker: Masker) -> None:
        self._path = path
        self._limit = limit
        self._masker = masker
        self._lock = threading.Lock()
        self._head = b""
        self._cut = False
        self.size = 0
        self.tail = b""

    def write(self, data: bytes) -> bytes:
        """Append; what is beyond the limit is dropped, and the log says so once. Returns it masked.

        Raises TestbedError if the disk is full or broken.
        """
        return self._write(self._masker.feed(data))

    def settle(self) -> bytes:
        """Append what may have been the beginning of a secret, when no more comes. Raises TestbedError."""
        return self._write(self._masker.rest())

    def note(self, text: str) -> None:
        """Append a line of our own, in autopkgtest's form, also after the cut. Raises TestbedError."""
        self.settle()
        self._append(self._masker.feed(_line(text)))

    def read(self, start: int, length: int) -> bytes:
        """At most so many of the bytes from ``start`` on; none if the file is gone."""
        with self._lock:
            place = start - (self.size - len(self.tail))
            if place >= 0:
                return self.tail[place : place + length]
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError:
            return b""

    def _write(self, masked: bytes) -> bytes:
        if masked and not self._cut:
            data = masked
            if self.size + len(data) > self._limit:
                self._cut = True
                room = max(0, self._limit - self.size)
                data = data[:room] + b"\n" + _line(f"log cut here, at {self._limit} bytes")
            self._append(data)
        return masked

    def _append(self, data: bytes) -> None:
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

    def shown(self) -> str:
        """What status messages show: the first lines, a line between, the last bytes."""
        head = self._head.decode("utf-8", errors="replace").removesuffix("\n")
        last = self.tail[-_SHOWN_BYTES:].decode("utf-8", errors="replace")
        if self.size > _SHOWN_BYTES:
            last = last.partition("\n")[2]
        return f"{head}\n\U0001f839 HEAD --- TAIL \U0001f83b\n{last}"

    def compressed_tail(self, ending: str) -> bytes:
        """A ``log.gz`` from what is in memory: for when the file cannot be had."""
        return gzip.compress(self.tail + b"".join(_line(line) for line in ending.splitlines()), mtime=0)

    def _remember(self, data: bytes) -> None:
        with self._lock:
            self.size += len(data)
            self.tail = (self.tail + data)[-_TAIL:]
        room = _HEAD_BYTES - len(self._head)
        if room > 0 and self._head.count(b"\n") < _HEAD_LINES:
            lines = (self._head + data[:room]).split(b"\n", _HEAD_LINES)
            # the sixth item is what follows the fifth line
            self._head = b"\n".join([*lines[:_HEAD_LINES], *([b""] if len(lines) > _HEAD_LINES else [])])


def _line(text: str) -> bytes:
    # names of a test's files come this way: no second line, no terminal's commands, any bytes
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    line = f"testyard [{time.strftime('%H:%M:%S', time.gmtime())}]: {shown}\n"
    return line.encode("utf-8", errors="backslashreplace")
