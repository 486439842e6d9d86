# SPDX-License-Identifier: AGPL-3.0-or-later
"""How people are told a duration, on pages and in the terminal alike."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 12 s``, ``26 s``; below 10 s with a tenth where one was measured: ``7.4 s``."""
    whole = round(max(0.0, seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{seconds:.1f} s" if isinstance(seconds, float) and 0.05 <= seconds < 9.95 else f"{whole} s"


def age_text(then: float, now: float) -> str:
    """How long ago, in the one unit that matters. Both are Unix seconds."""
    seconds = max(0, int(now - then))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 5 else f"{seconds} s ago"
