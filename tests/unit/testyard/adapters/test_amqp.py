# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of the broker, and a broker that is not there. tests/integration has the real one."""

from __future__ import annotations

import ssl
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.certificates import Authority
from testyard.adapters.amqp import Publisher, connection_parameters
from testyard.adapters.deadletters import dead_letters
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


def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    file = Authority(tmp_path).file
    found = connection_parameters(f"amqps://u:p@h/my%2Fhost?heartbeat=17&cacertfile={quote(str(file))}")
    assert (found.virtual_host, found.heartbeat) == ("my/host", 17)
    context = found.ssl_options.context
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert [dict(pair[0] for pair in one["subject"])["commonName"] for one in context.get_ca_certs()] == [
        f"test authority {tmp_path.name}"
    ]


def test_an_authority_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    for file, why in (
        (f"{tmp_path}/nosuch.pem", "No such file"),
        (f"{tmp_path}/empty.pem", "it holds no certificate"),
        ("", "no file is named"),
    ):
        with pytest.raises(SettingsError, match=rf"broker\.url: cacertfile: '{file}' cannot be used: {why}"):
            connection_parameters(f"amqps://u:s3cret@h/?cacertfile={file}")
    with pytest.raises(SettingsError, match="cacertfile has no use without TLS") as caught:
        connection_parameters(f"amqp://u:s3cret@h/?cacertfile={Authority(tmp_path).file}")
    assert "amqps://" in caught.value.resolution


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
    )
    for action in actions:
        with pytest.raises(BrokerError, match=r"^broker: cannot ") as caught:
            action()
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_close_without_a_connection() -> None:
    with Publisher(NOBODY) as publisher:
        publisher.close()
