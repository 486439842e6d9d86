# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes the deliveries of forges, and does no more than that: docs/hooks.md."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_lock = threading.Lock()
_made: list[Callable[[Any, Any], dict[str, Any]]] = []


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one HTTP event of AWS Lambda: API Gateway, load balancer, function address."""
    # imported and made at the first event: whoever imports this package for something else needs neither
    from mangum import Mangum  # noqa: PLC0415

    from functions.webhook.app import create_app  # noqa: PLC0415

    with _lock:
        if not _made:
            _made.append(Mangum(create_app(idle=_IDLE), lifespan="off"))
    return _made[0](event, context)


#: Seconds without a call after which the connection to the broker is made anew: between two calls the
#: process stands still, and answers no heartbeat.
_IDLE = 15.0
