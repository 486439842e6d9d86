# SPDX-License-Identifier: AGPL-3.0-or-later
"""A loop that takes messages from one queue and comes back after every failure."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import Publisher, check_consuming, connect
from testyard.errors import ResultError, TestyardError

log = logging.getLogger(__name__)


class Consumer:
    """Hands each message of ``queue`` to ``handle`` and acknowledges it when that returns.

    A message whose handling raises ResultError can never work: it goes to the dead letters. After
    any other TestyardError it goes back to the queue, and the loop pauses. So it does after any other
    exception, which is a bug of ours; if one comes of it again, it goes to the dead letters too.
    What came by an exchange in ``others`` is handed to that one, with its headers.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        handle: Callable[[bytes], None],
        *,
        others: Mapping[str, Callable[[Mapping[str, Any], bytes], None]] | None = None,
        prefetch: int = 20,
        pause: float = 1.0,
    ) -> None:
        self._url = url
        self.queue = queue
        self._handle = handle
        self._others = others or {}
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
            except TestyardError as error:
                self._pause_after(error.brief)
            except (AMQPError, OSError) as error:
                self._pause_after(f"broker: {str(error) or type(error).__name__}")
            except Exception:  # the outermost place: a bug must not leave the queue unread
                log.exception("%s: a bug", self.queue)
                self._pause_after("a bug; see the log")

    def take(self, body: bytes) -> None:
        """Handle one message that came by another way. Raises TestyardError if it shall come again.

        Whoever hands it over does not say whether it came before: a bug sends it to the dead letters at once.
        """
        try:
            self._handle(body)
        except ResultError as error:
            reason = error.brief
        except TestyardError:
            raise
        except Exception as error:  # one message must not hold up all behind it
            log.exception("%s: a bug", self.queue)
            reason = f"a bug: {type(error).__name__}"
        else:
            return
        with Publisher(self._url) as publisher:
            self._park(publisher, body, reason)

    def _pause_after(self, problem: str) -> None:
        self.problem = problem
        log.warning("%s: %s; trying again", self.queue, problem)
        self._stop.wait(self._pause)

    def _consume(self) -> None:
        connection = connect(self._url)
        with connection, Publisher(self._url) as publisher:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=self._prefetch)

            def on_message(
                channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
            ) -> None:
                if self._stop.is_set():
                    return  # what is not acknowledged goes back with the connection
                self._settle(channel, method, properties, body, publisher)

            channel.basic_consume(self.queue, on_message)
            self.problem = ""
            while not self._stop.is_set():
                connection.process_data_events(time_limit=0.5)
                check_consuming(channel, expected=1)

    def _settle(
        self,
        channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        publisher: Publisher,
    ) -> None:
        try:
            if method.exchange in self._others:
                self._others[method.exchange](properties.headers or {}, body)
            else:
                self._handle(body)
        except ResultError as error:
            self._park(publisher, body, error.brief)
        except TestyardError as error:
            self._give_back(channel, method, error.brief)
            return
        except Exception as error:  # one message must not hold up all behind it
            log.exception("%s: a bug", self.queue)
            reason = f"a bug: {type(error).__name__}"
            if not method.redelivered:
                self._give_back(channel, method, reason)
                return
            self._park(publisher, body, reason)
        self.problem = ""
        channel.basic_ack(method.delivery_tag)

    def _park(self, publisher: Publisher, body: bytes, reason: str) -> None:
        log.warning("%s: parked: %s", self.queue, reason)
        publisher.park(body, queue=self.queue, reason=reason)

    def _give_back(self, channel: BlockingChannel, method: Basic.Deliver, reason: str) -> None:
        self.problem = reason
        log.warning("%s: back to the queue: %s", self.queue, reason)
        channel.basic_nack(method.delivery_tag, requeue=True)
        self._stop.wait(self._pause)
