# SPDX-License-Identifier: AGPL-3.0-or-later
"""Figures by name, in the order in which they are told."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

Figures = dict[str, float]


def spread(name: str, seconds: Iterable[float]) -> Figures:
    """Median and 99th percentile, in ms."""
    found = sorted(seconds)
    return {
        f"{name}, p50, ms": statistics.median(found) * 1000,
        f"{name}, p99, ms": found[int(len(found) * 0.99)] * 1000,
    }
