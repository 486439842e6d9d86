# SPDX-License-Identifier: AGPL-3.0-or-later
"""Asks each part whether it does its work. Each answer is "" or why it does not."""

from __future__ import annotations

import logging
import time

import httpx
import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from testyard.errors import words_of
from testyard.local.state import LocalState
from testyard.routes import HEALTH

TIMEOUT = 3.0  # seconds that a part gets to answer
HEARTBEAT_AGE = 15.0  # seconds after which a worker counts as stuck; it writes each 5 s

# the answer says what is wrong; pika would print it as well, once per attempt
logging.getLogger("pika").addHandler(logging.NullHandler())


def check_part(state: LocalState, name: str, *, started: float) -> str:
    """ "" when part ``name``, running since ``started`` (Unix time), is healthy, else the reason."""
    if name == "broker":
        return check_broker(state.broker_url)
    if name == "store":
        return check_url(f"{state.url('store')}/healthcheck")
    if name == "worker":
        return check_heartbeat(state, started)
    if name == "front":
        return check_url(state.url("web") + HEALTH)
    return check_url(f"{state.url('site' if name == 'web' else name)}/health")


def check_broker(url: str) -> str:
    """Log in as the parts do."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = TIMEOUT
    parameters.stack_timeout = TIMEOUT
    parameters.blocked_connection_timeout = TIMEOUT
    try:
        pika.BlockingConnection(parameters).close()
    except pika.exceptions.ProbableAuthenticationError:
        return "it refuses the password"
    except pika.exceptions.ProbableAccessDeniedError:
        return "it refuses the virtual host"
    except AMQPConnectorException:
        return "no answer"  # a stopped process: connected to, and silent
    except (pika.exceptions.AMQPError, OSError) as error:
        return f"no AMQP connection: {_words(error)}"
    return ""


def check_url(url: str) -> str:
    """GET ``url``; 200 is healthy, and a JSON body's ``reason`` says why it is not."""
    try:
        # trust_env: a proxy from the environment has no business on loopback
        response = httpx.get(url, timeout=TIMEOUT, trust_env=False)
    except httpx.HTTPError as error:
        return f"no answer: {_words(error)}"
    if response.status_code == 200:
        return ""
    try:
        content = response.json()
    except ValueError:
        content = None
    reason = content.get("reason") if isinstance(content, dict) else None
    return str(reason or f"{url} answers {response.status_code}")


def check_heartbeat(state: LocalState, started: float) -> str:
    """The worker touches work/worker.alive; one that an earlier worker left does not count."""
    try:
        beat = (state.path / "work" / "worker.alive").stat().st_mtime
    except OSError:
        return "no heartbeat yet"
    # supervisord tells the start in whole seconds
    if beat < started - 1:
        return "no heartbeat yet"
    age = time.time() - beat
    return f"no heartbeat for {age:.0f} s" if age > HEARTBEAT_AGE else ""


def _words(error: BaseException) -> str:
    root = error
    # pika wraps the socket's error in an error without words
    while not str(root) and (inner := root.__cause__ or root.__context__ or _first_argument(root)):
        root = inner
    return words_of(root) if str(root) else type(error).__name__


def _first_argument(error: BaseException) -> BaseException | None:
    first = error.args[0] if error.args else None
    return first if isinstance(first, BaseException) else None
