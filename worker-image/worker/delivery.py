# SPDX-License-Identifier: AGPL-3.0-or-later
"""One message as the broker delivered it, and how it is settled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from testyard.arrival import ACCEPTED_HEADER, ORIGIN_HEADER, body_digest
from testyard.errors import RequestError
from testyard.fields import request_id
from testyard.queue import QueueName
from testyard.request import TestRequest, body_id, parse_body, perhaps_private
from worker.command import check_runnable


@dataclass(frozen=True)
class Delivery:
    """``line`` (the number of a channel) and ``tag`` tell the broker which one is settled."""

    tag: int
    line: int
    queue: str
    body: bytes
    redelivered: bool = False
    message_id: str | None = None
    headers: Mapping[str, Any] | None = None

    def read(self) -> tuple[TestRequest, QueueName]:
        """The request and its queue. Raises RequestError if it can never work."""
        request = parse_body(self.body)
        if request.uuid is None:
            request = replace(request, uuid=self._message_id())
        check_runnable(request)
        return request, QueueName.parse(self.queue)

    @property
    def digest(self) -> str:
        """What tells equal bodies from others: sha256, in hex."""
        return body_digest(self.body)

    @property
    def request_id(self) -> str | None:
        """The id of the request, also where nothing else of it can be read; None if it has none."""
        return body_id(self.body) or self._message_id()

    @property
    def perhaps_private(self) -> bool:
        """True unless it is plain that anybody may read it, also where nothing else can be read."""
        return perhaps_private(self.body)

    @property
    def origin(self) -> str:
        """The queue whose claims it keeps: its own, unless it was moved from another of its release."""
        named = (self.headers or {}).get(ORIGIN_HEADER)
        try:
            own, origin = QueueName.parse(self.queue), QueueName.parse(str(named))
        except RequestError:
            return self.queue
        return str(origin) if replace(origin, context=own.context) == own else self.queue

    def _message_id(self) -> str | None:
        """The id in the message's properties; an id of another form is no id of ours."""
        try:
            return request_id("message_id", self.message_id)
        except RequestError:
            return None

    @property
    def accepted(self) -> float | None:
        """When the request was accepted (Unix time), where its sender says so."""
        try:
            accepted = float((self.headers or {})[ACCEPTED_HEADER])
        except (KeyError, TypeError, ValueError):
            return None
        return min(accepted, time.time()) if accepted >= 0 else None  # NaN is not
