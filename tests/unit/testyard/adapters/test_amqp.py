# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of the broker, and a broker that is not there. tests/integration has the real one."""

from __future__ import annotations

import traceback

import pytest

from testyard.adapters.amqp import Publisher, connection_parameters, dead_letters
from testyard.adapters.watch import RequestWatch
from testyard.errors import BrokerError, SettingsError
from testyard.queue import QueueName

NOBODY = "amqp://u:s3cret@127.0.0.1:1/"


def test_an_address_with_all_parts() -> None:
    found = connection_parameters("amqp://u%40x:p%2Fw@broker.example:5673/my%2Fhost?heartbeat=17")
    assert (found.host, found.port, found.virtual_host, found.heartbeat) == (
        "broker.example",
        5673,
        "my/host",
        17,
    )
    assert (found.credentials.username, found.credentials.password) == ("u@x", "p/w")
    assert found.ssl_options is None


def test_defaults() -> None:
    found = connection_parameters("amqp://broker.example")
    assert (found.port, found.virtual_host, found.heartbeat) == (5672, "/", 60)


def test_tls() -> None:
    found = connection_parameters("amqps://broker.example")
    assert found.port == 5671
    assert found.ssl_options is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "http://u:s3cret@h",
        "amqp://u:pa/s3cret@h",
        "amqp://u:p@h:s3cret/",
        "amqp://u:p@h/?heartbeat=s3cret",
        "amqp://[::s3cret",
        "amqp://u:s3cret@h:99999/",
    ],
)
def test_no_address_names_the_key_and_no_secret(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connection_parameters(url)
    assert caught.value.brief.startswith("broker.url: ")
    assert "s3cret" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_nobody_there() -> None:
    actions = (
        lambda: Publisher(NOBODY).publish_request(QueueName("ubuntu", "noble", "amd64"), b"gzip"),
        lambda: Publisher(NOBODY).publish("", "x", b""),
        lambda: Publisher(NOBODY).park(b"", queue="x", reason="y"),
        lambda: dead_letters(NOBODY),
        lambda: RequestWatch(NOBODY, "x"),
    )
    for action in actions:
        with pytest.raises(BrokerError, match=r"^broker: cannot ") as caught:
            action()
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_close_without_a_connection() -> None:
    with Publisher(NOBODY) as publisher:
        publisher.close()
