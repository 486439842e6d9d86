# SPDX-License-Identifier: AGPL-3.0-or-later
"""The message broker RabbitMQ, through pika: connect, declare, publish, look."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker, UnroutableError

from testyard.adapters.tls import AUTHORITY_KEY, take_authority, trust
from testyard.arrival import ACCEPTED_HEADER, ORIGIN_HEADER, TRACE_EXCHANGE, TRACE_KEY
from testyard.errors import BrokerError, NotSentError, SettingsError
from testyard.event import COMPLETION_EXCHANGE, EVENTS_EXCHANGE, STATUS_EXCHANGE, EventKind
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.request import new_request_id

#: Where the index and status functions find their messages. Durable: what comes while they are
#: down waits for them.
INDEX_QUEUE = "testyard-index"
STATUS_QUEUE = "testyard-status"
#: Where the forge function hears how requests go on, and the notify function of runs.
SHOWN_QUEUE = "testyard-shown"
NOTIFY_QUEUE = "testyard-notify"
#: Deliveries of hooks that were taken and not yet worked on.
HOOKS_QUEUE = "testyard-hooks"
#: Those whose forge could not be asked: they go back to the other queue after some seconds.
HOOKS_LATER_QUEUE = "testyard-hooks-later"
LATER_ARGUMENTS = {
    "x-message-ttl": 15_000,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": HOOKS_QUEUE,
}

#: Beyond this the oldest events fall out: with the status function down for long, only the live
#: view suffers.
STATUS_QUEUE_BYTES = 64 * 1024 * 1024

#: The events by which a request gets into another state.
STEPS = (
    EventKind.TAKEN,
    EventKind.STORED,
    EventKind.RETURNED,
    EventKind.REJECTED,
    EventKind.CANCELLED,
)

_PERSISTENT = 2


def connection_parameters(url: str) -> pika.URLParameters:
    """What pika needs, from an AMQP URI with vhost, port, TLS, its authority, and heartbeat.

    Raises SettingsError, without the URI in it, if it or its authority's file cannot be read.
    """
    try:
        if not url.startswith(("amqp://", "amqps://")):
            raise ValueError("no such scheme")  # noqa: TRY301  pika takes any
        rest, authority = take_authority(url)
        parameters = pika.URLParameters(rest)
    except (ValueError, TypeError, AttributeError):
        # the cause may quote the address, and with it the password
        raise SettingsError(
            "broker.url: not an AMQP address",
            resolution="Write amqp[s]://user:password@host:port/vhost, reserved characters percent-encoded.",
        ) from None
    if authority is not None:
        parameters.ssl_options = _tls(parameters, authority)
    if parameters.heartbeat is None:
        parameters.heartbeat = 60
    parameters.blocked_connection_timeout = parameters.blocked_connection_timeout or 300
    parameters.socket_timeout = 10
    return parameters


def _tls(parameters: pika.URLParameters, authority: str) -> pika.SSLOptions:
    if parameters.ssl_options is None:
        raise SettingsError(
            f"broker.url: {AUTHORITY_KEY} has no use without TLS",
            resolution="Write amqps:// if the broker has a TLS listener, or leave the key out.",
        )
    return pika.SSLOptions(trust(authority))


@contextmanager
def broker_errors(action: str) -> Iterator[None]:
    """Turn pika's errors into BrokerError."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise BrokerError(
            f"broker: cannot {action}: its certificate is not accepted: {error.verify_message}",
            resolution="Use the host name that the certificate is for; name the file of the authority that "
            f"signed it in broker.url: …?{AUTHORITY_KEY}=/path/to/authority.pem",
        ) from error
    except ssl.SSLError as error:
        raise BrokerError(
            f"broker: cannot {action}: no TLS: {error.reason or error}",
            resolution="Is it the broker's TLS port (often 5671)? Without TLS write amqp:// in broker.url.",
        ) from error
    except AMQPConnectorException as error:
        # a process that is stopped: the kernel takes the connection, and nobody says a word on it
        raise BrokerError(
            f"broker: no answer (cannot {action})",
            details="It takes connections and says nothing on them: it is stopped, or far too busy.",
            resolution="testyard local status shows it; testyard local restart broker starts it anew.",
        ) from error
    except (AMQPError, OSError) as error:
        text = str(error) or "it does not answer"
        raise BrokerError(
            f"broker: cannot {action}: {text}",
            resolution="Does it run? testyard local status; testyard doctor",
        ) from error


def connect(url: str) -> pika.BlockingConnection:
    """A connection. Raises BrokerError, and SettingsError if the address is no good."""
    return _open(connection_parameters(url))


def _open(parameters: pika.URLParameters) -> pika.BlockingConnection:
    with broker_errors("connect"):
        return pika.BlockingConnection(parameters)


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """What fails here fails before a message was sent."""
    try:
        yield
    except BrokerError as error:
        raise NotSentError(error.brief, details=error.details, resolution=error.resolution) from error


class Publisher:
    """A connection that publishes with confirms; opened when first needed and after a failure.

    Not for use by two threads at once.
    """

    def __init__(self, url: str) -> None:
        self._parameters = connection_parameters(url)
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(AMQPError, OSError):
                connection.close()

    def channel(self) -> BlockingChannel:
        """An open channel in confirm mode. Raises NotSentError."""
        if self._channel is None or not self._channel.is_open:
            self.close()
            with _nothing_sent():
                self._connection = _open(self._parameters)
                with broker_errors("open a channel"):
                    self._channel = self._connection.channel()
                    self._channel.confirm_delivery()
        return self._channel

    def serve(self) -> None:
        """Answer the broker's heartbeats; never raises.

        Whoever keeps an unused publisher calls it each second: the broker closes a connection that
        is silent for two heartbeats. A dead one is dropped here, and opened again when next needed.
        """
        if self._connection is None:
            return
        try:
            self._connection.process_data_events(time_limit=0)
        except (AMQPError, OSError):
            self.close()

    def publish_request(
        self,
        queue: QueueName,
        body: bytes,
        request_id: str | None = None,
        *,
        accepted: float | None = None,
        origin: str = "",
    ) -> None:
        """Put a request into its queue; returns when the broker has it on disk.

        ``accepted`` is Unix time, now by default; ``origin`` the queue whose claims a moved one keeps.

        Raises BrokerError; NotSentError if the broker could not be reached, or the queue does not exist.
        """
        headers = {ACCEPTED_HEADER: str(time.time() if accepted is None else accepted)}
        headers |= {ORIGIN_HEADER: origin} if origin else {}
        properties = pika.BasicProperties(delivery_mode=_PERSISTENT, message_id=request_id, headers=headers)
        try:
            self._publish("", str(queue), body, properties, mandatory=True)
        except UnroutableError as error:
            raise NotSentError(
                f"broker: there is no queue {queue}; nothing was sent",
                resolution="Check release and architecture, or let an operator run `testyard broker setup`.",
            ) from error

    def check_queue(self, queue: QueueName) -> None:
        """Raises NotSentError if there is no such queue, or the broker is away."""
        self.channel()
        assert self._connection is not None
        with _nothing_sent():
            if queue_length(self._connection, str(queue)) is None:
                raise NotSentError(
                    f"broker: there is no queue {queue}; nothing was sent",
                    resolution="Let an operator run `testyard broker setup`.",
                )

    def publish(self, exchange: str, routing_key: str, body: bytes, *, persistent: bool = True) -> None:
        """Send to an exchange; nobody need listen. Raises BrokerError."""
        properties = pika.BasicProperties(delivery_mode=_PERSISTENT if persistent else 1)
        self._publish(exchange, routing_key, body, properties, mandatory=False)

    def put(self, queue: str, body: bytes, arguments: Mapping[str, Any]) -> None:
        """Put a body into a queue, which is made if it is missing. Raises BrokerError."""
        properties = pika.BasicProperties(delivery_mode=_PERSISTENT)
        try:
            self._publish("", queue, body, properties, mandatory=True)
        except UnroutableError:
            with broker_errors(f"make the queue {queue}"):
                self.channel().queue_declare(queue, durable=True, arguments=dict(arguments))
            with broker_errors("publish"):
                self._publish("", queue, body, properties, mandatory=True)

    def park(self, body: bytes, *, queue: str, reason: str, request_id: str = "") -> None:
        """Put a body that can never work among the dead letters. Raises BrokerError."""
        headers = {"queue": queue, "reason": reason, "request_id": request_id}
        # by its own id a body that has none is sent back once only
        own = new_request_id()
        properties = pika.BasicProperties(delivery_mode=_PERSISTENT, message_id=own, headers=headers)
        try:
            self._publish("", DEAD_LETTERS, body, properties, mandatory=True)
        except UnroutableError as error:
            raise BrokerError(
                f"broker: there is no queue {DEAD_LETTERS}", resolution="Run `testyard broker setup`."
            ) from error

    def _publish(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties, *, mandatory: bool
    ) -> None:
        self.serve()  # what the broker closed while nobody looked
        channel = self.channel()
        try:
            channel.basic_publish(exchange, key, body, properties, mandatory=mandatory)
        except UnroutableError:
            raise
        except (AMQPError, OSError) as error:
            self.close()
            text = str(error) or type(error).__name__
            raise BrokerError(f"broker: cannot publish: {text}") from error


class SharedPublisher:
    """A `Publisher` for use by any thread, one after the other."""

    def __init__(self, url: str) -> None:
        self._publisher = Publisher(url)
        self._lock = threading.Lock()

    def publish_request(
        self, queue: QueueName, body: bytes, request_id: str, *, accepted: float | None, origin: str
    ) -> None:
        """See `Publisher`."""
        with self._lock:
            self._publisher.publish_request(queue, body, request_id, accepted=accepted, origin=origin)

    def publish(self, exchange: str, routing_key: str, body: bytes) -> None:
        """See `Publisher`."""
        with self._lock:
            self._publisher.publish(exchange, routing_key, body)

    def put(self, queue: str, body: bytes, arguments: Mapping[str, Any]) -> None:
        """See `Publisher`."""
        with self._lock:
            self._publisher.put(queue, body, arguments)

    def park(self, body: bytes, *, queue: str, reason: str, request_id: str = "") -> None:
        """See `Publisher`."""
        with self._lock:
            self._publisher.park(body, queue=queue, reason=reason, request_id=request_id)

    def serve(self) -> None:
        """See `Publisher`; nothing while somebody publishes."""
        if self._lock.acquire(blocking=False):
            try:
                self._publisher.serve()
            finally:
                self._lock.release()

    def close(self) -> None:
        """See `Publisher`."""
        with self._lock:
            self._publisher.close()


def declare_topology(channel: BlockingChannel, queues: Iterable[QueueName]) -> None:
    """Create every exchange and queue that is missing. May be called again at any time.

    Request queues are durable, classic and without arguments: clients that declare them so meet
    no conflict. Raises BrokerError.
    """
    with broker_errors("declare queues"):
        channel.exchange_declare(STATUS_EXCHANGE, "fanout", durable=False)
        channel.exchange_declare(COMPLETION_EXCHANGE, "fanout", durable=True)
        channel.exchange_declare(EVENTS_EXCHANGE, "topic", durable=True)
        for queue in queues:
            channel.queue_declare(str(queue), durable=True)
        channel.queue_declare(DEAD_LETTERS, durable=True)
        channel.queue_declare(HOOKS_QUEUE, durable=True)
        channel.queue_declare(HOOKS_LATER_QUEUE, durable=True, arguments=LATER_ARGUMENTS)
        channel.queue_declare(INDEX_QUEUE, durable=True)
        channel.queue_bind(INDEX_QUEUE, COMPLETION_EXCHANGE)
        arguments = {"x-max-length-bytes": STATUS_QUEUE_BYTES}
        channel.queue_declare(STATUS_QUEUE, durable=True, arguments=arguments)
        channel.queue_bind(STATUS_QUEUE, EVENTS_EXCHANGE, "#")
        channel.queue_declare(SHOWN_QUEUE, durable=True, arguments=arguments)
        for kind in STEPS:
            channel.queue_bind(SHOWN_QUEUE, EVENTS_EXCHANGE, f"{kind}.*")
        channel.queue_declare(NOTIFY_QUEUE, durable=True, arguments=arguments)
        channel.queue_bind(NOTIFY_QUEUE, COMPLETION_EXCHANGE)


def hear_arrivals(connection: pika.BlockingConnection) -> bool:
    """Have the status function's queue get a copy of each request that arrives, where the broker traces.

    False if this account may not; whether the broker traces cannot be seen from here. Raises BrokerError.
    """
    with broker_errors("listen to the broker's tracer"):
        channel = connection.channel()
        try:
            channel.queue_bind(STATUS_QUEUE, TRACE_EXCHANGE, TRACE_KEY)
        except ChannelClosedByBroker:
            return False
        channel.close()
        return True


def check_consuming(channel: BlockingChannel, *, expected: int) -> None:
    """Notice that the broker has closed the channel or cancelled a consumer, which pika does not tell.

    Seen after a delivery timeout, and when a queue is deleted. Raises BrokerError.
    """
    if not channel.is_open or len(channel.consumer_tags) < expected:
        raise BrokerError("broker: the channel was closed, or a queue is gone")


def queue_length(connection: pika.BlockingConnection, queue: str) -> tuple[int, int] | None:
    """Messages that wait, and consumers; None if there is no such queue. Raises BrokerError."""
    with broker_errors("look at a queue"):
        channel = connection.channel()
        try:
            method = channel.queue_declare(queue, passive=True).method
        except ChannelClosedByBroker:
            return None
        channel.close()
        return int(method.message_count), int(method.consumer_count)
