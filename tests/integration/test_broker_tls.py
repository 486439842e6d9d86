# SPDX-License-Identifier: AGPL-3.0-or-later
"""RabbitMQ over TLS: whom a connection trusts, and whom it does not."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.integration.brokers import ID, NOBLE, wait_for, waiting
from tests.servers import Rabbit
from testyard.adapters.amqp import INDEX_QUEUE, Publisher, connect
from testyard.adapters.consumer import Consumer
from testyard.adapters.deadletters import dead_letters
from testyard.errors import BrokerError
from testyard.event import COMPLETION_EXCHANGE


def actions(url: str) -> list[Callable[[], object]]:
    """Every way to the broker."""
    return [
        lambda: connect(url),
        lambda: Publisher(url).publish_request(NOBLE, b"demo", ID),
        lambda: dead_letters(url),
    ]


def test_all_goes_by_tls_too(broker: Rabbit) -> None:
    url = broker.tls_url(broker.authority.file)
    with Publisher(url) as publisher:
        publisher.publish_request(NOBLE, b"demo", ID)
        publisher.publish(COMPLETION_EXCHANGE, "", b"x" * 200_000)  # more than one record
    assert waiting(broker, str(NOBLE)) == 1
    assert dead_letters(url) == ()
    seen: list[bytes] = []
    consumer = Consumer(url, INDEX_QUEUE, seen.append)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        wait_for(lambda: seen == [b"x" * 200_000])
    finally:
        consumer.stop()
        thread.join(10)
    assert consumer.problem == ""


def test_an_unknown_authority_is_refused(broker: Rabbit, tmp_path: Path) -> None:
    url = broker.tls_url(Authority(tmp_path / "other").file)
    for action in actions(url):
        with pytest.raises(BrokerError, match=r"its certificate is not accepted: .*self-signed") as caught:
            action()
        assert "cacertfile" in caught.value.resolution
        assert broker.state.secrets["broker_password"] not in "".join(
            traceback.format_exception(caught.value)
        )
    assert waiting(broker, str(NOBLE)) == 0


def test_the_systems_authorities_do_not_know_it(broker: Rabbit) -> None:
    url = broker.tls_url(broker.authority.file).partition("?")[0]
    with pytest.raises(BrokerError, match="its certificate is not accepted"):
        connect(url)


def test_another_host_name_is_refused(broker: Rabbit) -> None:
    url = broker.tls_url(broker.authority.file, host="localhost")
    for action in actions(url):
        with pytest.raises(BrokerError, match=r"Hostname mismatch.*'localhost'") as caught:
            action()
        assert "host name" in caught.value.resolution


def test_a_consumer_says_why_it_is_not_connected(broker: Rabbit) -> None:
    consumer = Consumer(broker.tls_url(broker.authority.file, "localhost"), INDEX_QUEUE, lambda _: None)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        wait_for(lambda: "Hostname mismatch" in consumer.problem)
    finally:
        consumer.stop()
        thread.join(10)
    assert not thread.is_alive()


def test_the_wrong_port_is_a_broker_error(broker: Rabbit) -> None:
    plain, tls = str(broker.state.ports["broker"]), str(broker.tls_port)
    with pytest.raises(BrokerError, match="broker: cannot connect: ") as caught:
        connect(broker.tls_url(broker.authority.file).replace(tls, plain))
    assert "5671" in caught.value.resolution
    with pytest.raises(BrokerError, match="broker: cannot connect: "):
        connect(broker.url.replace(plain, tls))
