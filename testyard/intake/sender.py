# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the door reaches the broker."""

from __future__ import annotations

import threading

from testyard.adapters.amqp import Publisher
from testyard.event import EVENTS_EXCHANGE, Event
from testyard.queue import QueueName


class BrokerSender:
    """Sends one message after the other, for any thread."""

    def __init__(self, url: str) -> None:
        self._publisher = Publisher(url)
        self._lock = threading.Lock()

    def send(self, queue: QueueName, body: bytes, request_id: str) -> None:
        """See `testyard.intake.submit.Sender`."""
        with self._lock:
            self._publisher.publish_request(queue, body, request_id)

    def tell(self, event: Event) -> None:
        """See `testyard.intake.submit.Sender`."""
        with self._lock:
            self._publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())

    def serve(self) -> None:
        """Answer the broker's heartbeats; to be called each second or so."""
        with self._lock:
            self._publisher.serve()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._publisher.close()
