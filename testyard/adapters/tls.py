# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom an ``amqps`` connection trusts."""

from __future__ import annotations

import ssl
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from testyard.errors import SettingsError

#: The key of an AMQP URI, as RabbitMQ's own clients write it; pika does not know it.
AUTHORITY_KEY = "cacertfile"


def take_authority(url: str) -> tuple[str, str | None]:
    """An AMQP URI without its ``cacertfile``, and that file's name. Raises ValueError if it is no URI."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if AUTHORITY_KEY not in query:
        return url, None
    name = query.pop(AUTHORITY_KEY)
    return urlunsplit(parts._replace(query=urlencode(query))), name


def trust(authority: str) -> ssl.SSLContext:
    """Trust only what this PEM file signed; chain and host name are verified. Raises SettingsError."""
    try:
        if not authority:  # Python would trust the system's authorities then
            raise FileNotFoundError(2, "no file is named")
        return ssl.create_default_context(cafile=authority)
    except OSError as error:  # SSLError is one
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"broker.url: {AUTHORITY_KEY}: {authority!r} cannot be used: {why}",
            resolution="Name a PEM file with the certificate of the authority that signed the broker's.",
        ) from error
