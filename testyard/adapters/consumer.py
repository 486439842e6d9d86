# SPDX-License-Identifier: AGPL-3.0-or-later
"""A loop that takes messages from one queue and comes back after every failure."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import Publisher, check_consuming, connection_parameters
from testyard.errors import BrokerError, ResultError, TestyardError

log = logging.getLogger(__name__)


class Consumer:
    """Hands each message of ``queue`` to ``handle`` and acknowledges it when that returns.

    A message whose handling raises ResultError can never work: it goes to the dead letters. After
    any other TestyardError it goes back to the queue, and the loop pauses.
    """

    def __init__(
        self, url: str, queue: str, handle: Callable[[bytes], None], *, prefetch: int = 50, pause: float = 1.0
    ) -> None:
        self._url = url
        self._queue = queue
        self._handle = handle
        self._prefetch = prefetch
        self._pause = pause
        self._stop = threading.Event()
        self.problem = "not connected yet"

    def stop(self) -> None:
        """Ask the loop to end."""
        self._stop.set()

    def run(self) -> None:
        """Take messages until `stop` is called."""
        while not self._stop.is_set():
            try:
                self._consume()
            except (AMQPError, OSError, BrokerError) as error:
                self.problem = f"broker: {str(error) or type(error).__name__}"
                log.warning("%s: %s; trying again", self._queue, self.problem)
                self._stop.wait(self._pause)
            except Exception:  # the outermost place: a bug must not leave the queue unread
                self.problem = "a bug; see the log"
                log.exception("%s: a bug; trying again", self._queue)
                self._stop.wait(self._pause)

    def _consume(self) -> None:
        connection = pika.BlockingConnection(connection_parameters(self._url))
        with connection, Publisher(self._url) as publisher:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=self._prefetch)

            def on_message(
                channel: BlockingChannel, method: Basic.Deliver, _properties: BasicProperties, body: bytes
            ) -> None:
                self._settle(channel, method.delivery_tag, body, publisher)

            channel.basic_consume(self._queue, on_message)
            self.problem = ""
            while not self._stop.is_set():
                connection.process_data_events(time_limit=0.5)
                check_consuming(channel, expected=1)

    def _settle(self, channel: BlockingChannel, tag: int, body: bytes, publisher: Publisher) -> None:
        try:
            self._handle(body)
        except ResultError as error:
            log.warning("%s: parked: %s", self._queue, error.brief)
            publisher.park(body, queue=self._queue, reason=error.brief)
        except TestyardError as error:
            log.warning("%s: back to the queue: %s", self._queue, error.brief)
            channel.basic_nack(tag, requeue=True)
            self._stop.wait(self._pause)
            return
        channel.basic_ack(tag)
