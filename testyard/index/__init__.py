# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a run is found: a database that can be thrown away and filled again from the store."""

from testyard.index.engine import open_index
from testyard.index.rows import QueueRow, RequestRow, RequestState, RunRow, SubtestRow

__all__ = ["QueueRow", "RequestRow", "RequestState", "RunRow", "SubtestRow", "open_index"]
