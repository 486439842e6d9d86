# SPDX-License-Identifier: AGPL-3.0-or-later
"""How pages say times. Pure; templates use them as filters."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(when: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(when: float) -> str:
    """The same for people."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
