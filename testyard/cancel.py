# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cancelling a request: a note in the store that every worker looks for.

It works wherever the request is: one that waits is acknowledged when its turn comes, one that runs is
ended when its worker next renews its claim. A note is written once, so nothing can overwrite it.
"""

from __future__ import annotations

import json
import time

from testyard import fields
from testyard.ports import Store
from testyard.store import CLAIMS

#: Seconds after which the store forgets a note: as long as it keeps claims.
_FORGET = 30 * 86400


def cancel(store: Store, request_id: str, reason: str) -> None:
    """Ask for a request's end; ``reason`` is one line. Raises StoreError, RequestError."""
    body = json.dumps({"reason": fields.line("reason", reason), "time": time.time()}).encode()
    store.ensure_container(CLAIMS)
    name = _name(fields.request_id("request", request_id) or "")
    store.put(CLAIMS, name, body, content_type="application/json", expire_after=_FORGET)


def cancelled(store: Store, request_id: str) -> str | None:
    """Why a request was cancelled; None if it was not. Raises StoreError."""
    body = store.get(CLAIMS, _name(request_id))
    if body is None:
        return None
    try:
        return str(json.loads(body)["reason"])
    except (ValueError, KeyError, TypeError):
        return "no reason can be read"


def _name(request_id: str) -> str:
    # beside the claims, whose names begin with their queue's: "debci-…"
    return f"cancelled/{request_id}"
