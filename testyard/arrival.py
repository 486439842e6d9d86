# SPDX-License-Identifier: AGPL-3.0-or-later
"""A message as the broker's tracer shows it when it arrives, before anybody has taken it.

RabbitMQ copies what is published to ``amq.rabbitmq.trace`` where tracing is on; the copy's headers say
where the message went (docs/messages.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testyard import fields
from testyard.errors import RequestError
from testyard.request import body_id

TRACE_EXCHANGE = "amq.rabbitmq.trace"
#: Routing key of what was published to the default exchange, by which requests come.
TRACE_KEY = "publish."
#: Header of a request with the Unix time at which it was accepted, as text: who sets it also tells of it.
ACCEPTED_HEADER = "testyard-accepted"
#: Header of a moved request: the queue whose claims it keeps.
ORIGIN_HEADER = "testyard-origin"
#: Beginning of all request queues' names.
_QUEUES = "debci-"


def body_digest(body: bytes) -> str:
    """What tells equal bodies from others: sha256, in hex."""
    return hashlib.sha256(body).hexdigest()


@dataclass(frozen=True)
class Arrival:
    """A request that was sent to ``queue``, which need not exist: then nobody has it.

    ``told`` is true if its sender tells of it by an event.
    """

    queue: str
    body: bytes
    message_id: str | None = None
    told: bool = False

    @classmethod
    def of_trace(cls, headers: Mapping[str, Any], body: bytes) -> Arrival | None:
        """Read a copy; None if it is of no request."""
        # its key routed_queues tells what was asked for, also where there is no such queue
        keys = headers.get("routing_keys")
        if headers.get("exchange_name") or not isinstance(keys, list) or len(keys) != 1:
            return None
        queue = str(keys[0])
        if not queue.startswith(_QUEUES):
            return None
        properties = headers.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        own = properties.get("headers")
        return cls(
            queue,
            body,
            message_id=_uuid(properties.get("message_id")),
            told=isinstance(own, dict) and ACCEPTED_HEADER in own,
        )

    @property
    def request_id(self) -> str | None:
        """The id that it brings along; None if a worker is to give it one."""
        return body_id(self.body) or self.message_id

    @property
    def digest(self) -> str:
        """See `body_digest`."""
        return body_digest(self.body)


def _uuid(value: object) -> str | None:
    try:
        return fields.request_id("message_id", value)
    except RequestError:
        return None
