# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells one destination: a signed webhook, or mail, Matrix or ntfy by apprise."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import apprise

from functions.notify.rules import Destination
from testyard.adapters.outside import Outside, pause_asked
from testyard.errors import OutsideError, RefusedAddressError, TestyardError
from testyard.intake.notices import Notice

#: Seconds that a destination may take.
SECONDS = 20.0


class NotToldError(TestyardError):
    """The destination could not be told. ``lasting``: it wants no more of it, or not of this one.

    ``retry_after`` is what it asks for, in seconds. ``unasked``: it is known to be away.
    """

    def __init__(
        self, brief: str, *, lasting: bool = False, retry_after: float | None = None, unasked: bool = False
    ) -> None:
        super().__init__(brief)
        self.lasting, self.retry_after, self.unasked = lasting, retry_after, unasked


def tell(destination: Destination, notice: Notice) -> None:
    """Raises NotToldError."""
    if destination.webhook:
        _tell_webhook(destination, notice)
    else:
        _tell_service(destination, notice.body)


def signed_headers(secret: bytes, message_id: str, when: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks, version 1: HMAC-SHA256 of id, time and body."""
    digest = hmac.digest(secret, f"{message_id}.{when}.".encode() + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "User-Agent": "testyard",
        "webhook-id": message_id,
        "webhook-timestamp": str(when),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _tell_webhook(destination: Destination, notice: Notice) -> None:
    data = notice.body["data"]
    value = {
        "type": f"run.{data['kind']}",
        "timestamp": datetime.fromtimestamp(notice.created, UTC).isoformat(),
        "data": data,
    }
    body = json.dumps(value).encode()
    message_id = hashlib.sha256(f"{notice.destination} {notice.run}".encode()).hexdigest()[:32]
    headers = signed_headers(destination.secret, message_id, int(time.time()), body)
    host = urlsplit(destination.webhook).hostname or ""
    outside = Outside(inside=(host,), hosts=(host,), seconds=SECONDS)  # an operator has named it
    try:
        answer = outside.fetch(destination.webhook, method="POST", headers=headers, body=body)
    except (OutsideError, RefusedAddressError) as error:
        raise NotToldError(error.brief) from error
    if not 200 <= answer.status < 300:
        raise NotToldError(
            f"{host}: status {answer.status}",
            lasting=answer.status == 410,
            retry_after=pause_asked(answer.headers),
        )


def _tell_service(destination: Destination, body: Mapping[str, Any]) -> None:
    service = apprise.Apprise.instantiate(destination.service, suppress_exceptions=True)
    if service is None:
        raise NotToldError(f"destinations.{destination.name}: apprise cannot read this address")
    sender = apprise.Apprise()
    sender.add(service)
    if not sender.notify(
        body=str(body["text"]),
        title=str(body["title"]),
        body_format=apprise.NotifyFormat.TEXT,
        interpret_escapes=False,
    ):
        kind = destination.service.partition("://")[0]
        raise NotToldError(f"destinations.{destination.name}: {kind}: not taken; see the log")
