# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of queue lengths: a row each release and context, a column each architecture."""

from __future__ import annotations

from dataclasses import dataclass

from web.views import QueueView


@dataclass(frozen=True)
class QueueTable:
    """``rows`` hold release, context and a queue (or None) for each architecture."""

    architectures: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[QueueView | None, ...]], ...]
    waiting: int
    updated: float | None

    @classmethod
    def of(cls, queues: tuple[QueueView, ...], *, empty: bool) -> QueueTable:
        """The table; rows in which nothing waits only if ``empty`` is wanted."""
        known = {(view.queue.release, view.queue.context, view.queue.architecture): view for view in queues}
        architectures = tuple(sorted({architecture for _, _, architecture in known}))
        rows = []
        for release, context in dict.fromkeys((release, context) for release, context, _ in sorted(known)):
            cells = tuple(known.get((release, context, name)) for name in architectures)
            if empty or any(cell and cell.row.messages for cell in cells):
                rows.append((release, context, cells))
        waiting = sum(view.row.messages for view in queues)
        return cls(
            architectures, tuple(rows), waiting, max((view.row.updated for view in queues), default=None)
        )
