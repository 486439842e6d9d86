# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log of a run while it runs: pieces of text, each with its place in the stored log's bytes.

The first `HEAD` bytes are told whole. Of a flood beyond it the worker may leave parts out, and the
index keeps the newest `TAIL` bytes; each part that is left out is a piece without text.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of a log that every reader gets, however late; and the newest beyond them.
HEAD = 4 * 1024 * 1024
TAIL = 4 * 1024 * 1024


@dataclass(frozen=True)
class LogPiece:
    """Bytes ``start`` to ``end`` of a log as text: bytes that are no UTF-8 are replaced in it.

    Without text it is a part that was left out; ``complete`` tells that the log ends here.
    """

    text: str
    start: int
    end: int
    complete: bool = False

    @property
    def left_out(self) -> int:
        """How many bytes were left out."""
        return 0 if self.text else self.end - self.start


def left_out_line(size: int) -> str:
    """What stands in place of ``size`` bytes that were left out: a line of its own."""
    return f"\n… {size} bytes are left out here; the stored log has them …\n"
