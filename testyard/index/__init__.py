# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a run is found: a database that can be thrown away and filled again from the store."""

from testyard.index.engine import create_tables, index_engine, index_errors, open_index
from testyard.index.rows import (
    OpenRequest,
    PackageRow,
    QueueRow,
    RequestRow,
    RequestState,
    RunRow,
    SubtestRow,
)

__all__ = [
    "OpenRequest",
    "PackageRow",
    "QueueRow",
    "RequestRow",
    "RequestState",
    "RunRow",
    "SubtestRow",
    "create_tables",
    "index_engine",
    "index_errors",
    "open_index",
]
