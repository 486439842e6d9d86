# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts' logs: their last lines, and new ones as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path

_TAIL_BYTES = 1024 * 1024  # read at most that much from the end: a rotated file holds 5 MiB


def tail(path: Path, lines: int) -> list[str]:
    """The last ``lines`` lines; none when there is no such file."""
    if lines <= 0:
        return []
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def follow(paths: Mapping[str, Path], *, interval: float = 0.3) -> Iterator[tuple[str, str]]:
    """Pairs of name and line, for ever: what comes from this call on; looks each ``interval`` s."""
    return _new_lines({name: _Follower(path) for name, path in paths.items()}, interval)


def _new_lines(readers: Mapping[str, _Follower], interval: float) -> Iterator[tuple[str, str]]:
    while True:
        for name, reader in readers.items():
            for line in reader.lines():
                yield name, line
        time.sleep(interval)


class _Follower:
    """Reads a growing file from its present end, across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""
        self._file: BufferedReader | None = self._open()
        if self._file:
            self._file.seek(0, 2)

    def _open(self) -> BufferedReader | None:
        try:
            return self._path.open("rb")
        except OSError:
            return None

    def lines(self) -> list[str]:
        """Whole lines that came since."""
        if not self._replaced():
            return self._read()
        # what came to the old file between our last look and its rotation
        found = self._read()
        if self._rest:
            found.append(self._rest.decode(errors="replace"))
            self._rest = b""
        if self._file:
            self._file.close()
        self._file = self._open()
        return found + self._read()

    def _read(self) -> list[str]:
        if not self._file:
            return []
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def _replaced(self) -> bool:
        try:
            now = self._path.stat()
        except OSError:
            return False
        if not self._file:
            return True
        return now.st_size < self._file.tell() or now.st_ino != os.fstat(self._file.fileno()).st_ino
