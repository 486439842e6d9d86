# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dead letters: looked at, and sent back to where they came from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError
from pika.spec import BasicProperties

from testyard.adapters.amqp import broker_errors, connect
from testyard.arrival import ACCEPTED_HEADER, Arrival
from testyard.errors import BrokerError, NotSentError
from testyard.event import EVENTS_EXCHANGE, Event, EventKind
from testyard.fields import request_id as canonical
from testyard.index.arrivals import event_of
from testyard.queue import DEAD_LETTERS
from testyard.request import new_request_id

_PEEK_LIMIT = 1000
_REASON = "taken from the dead letters"


@dataclass(frozen=True)
class DeadLetter:
    """A body that could never work."""

    queue: str
    reason: str
    request_id: str
    body: bytes


def dead_letters(url: str, most: int = _PEEK_LIMIT) -> tuple[DeadLetter, ...]:
    """Look at the dead letters without taking them; at most so many of the oldest. Raises BrokerError."""
    connection = connect(url)
    with broker_errors("read dead letters"):
        try:
            channel = connection.channel()
            return tuple(_peek(channel, most))
        except ChannelClosedByBroker as error:
            raise BrokerError(
                f"broker: there is no queue {DEAD_LETTERS}", resolution="Run `testyard broker setup`."
            ) from error
        finally:
            connection.close()  # unacknowledged: all go back in their old order


def _peek(channel: BlockingChannel, most: int) -> Iterator[DeadLetter]:
    for _ in range(most):
        method, properties, body = channel.basic_get(DEAD_LETTERS)
        if method is None or properties is None or body is None:
            return
        headers: dict[str, Any] = properties.headers or {}
        yield DeadLetter(
            queue=str(headers.get("queue", "")),
            reason=str(headers.get("reason", "")),
            request_id=str(headers.get("request_id", "")),
            body=body,
        )


@dataclass(frozen=True)
class Letter:
    """One dead letter; ``request_id`` is empty if it had none, and then the one it goes back with."""

    key: str
    queue: str
    reason: str
    request_id: str
    body: bytes


def requeue_letters(url: str, chosen: Callable[[Letter], bool], *, dry_run: bool) -> tuple[Letter, ...]:
    """Send those that are chosen back; gives them. The others stay where they are, in their order.

    Each is published and confirmed before its letter is acknowledged: who is killed in between leaves it in
    both places. With an id, which its letter's message id is if it has no other, that is one request.
    Raises BrokerError; NotSentError if a letter's queue is not there: those before it are back.
    """
    found: list[Letter] = []
    connection = connect(url)
    with broker_errors("send dead letters back"):
        try:
            taking, sending = connection.channel(), connection.channel()
            sending.confirm_delivery()
            count = taking.queue_declare(DEAD_LETTERS, passive=True).method.message_count
            for _ in range(count):
                method, properties, body = taking.basic_get(DEAD_LETTERS)
                if method is None or properties is None or body is None:
                    break
                letter = _letter(properties, body)
                if not chosen(letter):
                    continue
                found.append(letter)
                if not dry_run:
                    _send_back(sending, letter)
                    taking.basic_ack(method.delivery_tag)
            if not dry_run:
                taking.queue_declare(DEAD_LETTERS, passive=True)  # the broker has read what was acknowledged
        finally:
            if connection.is_open:
                connection.close()  # unacknowledged: the others go back in their old order
    return tuple(found)


def _letter(properties: BasicProperties, body: bytes) -> Letter:
    headers = properties.headers or {}
    own = properties.message_id or ""
    queue, reason = str(headers.get("queue", "")), str(headers.get("reason", ""))
    request_id = str(headers.get("request_id", "")) or own
    key = own or hashlib.sha256(f"{queue}\n{reason}\n{request_id}\n".encode() + body).hexdigest()
    return Letter(key, queue, reason, request_id, body)


def _send_back(channel: BlockingChannel, letter: Letter) -> None:
    request_id = letter.request_id or new_request_id()
    properties = BasicProperties(
        delivery_mode=2, message_id=request_id, headers={ACCEPTED_HEADER: str(time.time())}
    )
    try:
        channel.basic_publish("", letter.queue, letter.body, properties, mandatory=True)
    except UnroutableError as error:
        raise NotSentError(
            f"broker: there is no queue {letter.queue or 'named in the letter'}; the letter stays",
            resolution="Set topology and run `testyard broker setup`, or choose others.",
        ) from error
    if letter.queue.startswith("debci-") and canonical("id", request_id):
        event = _told(letter, request_id)
        channel.basic_publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())


def _told(letter: Letter, request_id: str) -> Event:
    """What waits again, as far as its body may be told."""
    arrived = event_of(Arrival(letter.queue, letter.body, request_id), now=time.time())
    package, data = (arrived.package, arrived.data) if arrived else ("", {})
    return Event(EventKind.RETURNED, request_id, letter.queue, package, data={**data, "reason": _REASON})
