# SPDX-License-Identifier: AGPL-3.0-or-later
"""A function may start before its database."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import Engine

from testyard.index import create_tables


class Tables:
    """Makes tables when first asked to, the index's unless told otherwise; for any number of threads."""

    def __init__(self, engine: Engine, make: Callable[[Engine], None] = create_tables) -> None:
        self._engine = engine
        self._make = make
        self._lock = threading.Lock()
        self._made = False

    def ensure(self) -> None:
        """They are there. Raises TestyardError if the database is away."""
        with self._lock:
            if not self._made:
                self._make(self._engine)
                self._made = True
