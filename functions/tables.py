# SPDX-License-Identifier: AGPL-3.0-or-later
"""A function may start before its database."""

from __future__ import annotations

import threading

from sqlalchemy import Engine

from testyard.index import create_tables


class Tables:
    """Makes the index's tables when first asked to; for any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._made = False

    def ensure(self) -> None:
        """They are there. Raises TestyardError if the database is away."""
        with self._lock:
            if not self._made:
                create_tables(self._engine)
                self._made = True
