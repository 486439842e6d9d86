# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching one request through its events, from before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from pika.exceptions import AMQPError

from testyard.adapters.amqp import broker_errors, connect
from testyard.errors import BrokerError, ResultError
from testyard.event import EVENTS_EXCHANGE, Event, EventKind

_LAST = (EventKind.STORED, EventKind.REJECTED, EventKind.CANCELLED)


class RequestWatch:
    """Hears all events of one request from the moment it is opened. Raises BrokerError."""

    def __init__(self, url: str, request_id: str) -> None:
        self._connection = connect(url)
        with broker_errors("watch events"):
            self._channel = self._connection.channel()
            self._queue = str(self._channel.queue_declare("", exclusive=True).method.queue)
            self._channel.queue_bind(self._queue, EVENTS_EXCHANGE, f"*.{request_id}")

    def __enter__(self) -> RequestWatch:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(AMQPError, OSError):
            self._connection.close()

    def events(self, *, tick: float = 0.5) -> Iterator[Event | None]:
        """Events until the request has ended; None after each ``tick`` seconds of silence.

        Raises BrokerError if the broker goes away.
        """
        with broker_errors("watch events"):
            for _method, _properties, body in self._channel.consume(
                self._queue, auto_ack=True, inactivity_timeout=tick
            ):
                event = _read(body)
                yield event
                if event is not None and event.kind in _LAST:
                    return
        raise BrokerError("broker: the watch was ended")


def _read(body: bytes | None) -> Event | None:
    if body is None:
        return None
    try:
        return Event.from_bytes(body)
    except ResultError:
        return None  # of a newer version perhaps; the next one will be of use
