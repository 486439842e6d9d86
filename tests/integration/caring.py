# SPDX-License-Identifier: AGPL-3.0-or-later
"""How tests look at what waits, and give orders for it as an operator does."""

from __future__ import annotations

import os
import subprocess
import sys

from sqlalchemy import Engine
from typer.testing import CliRunner

from tests.integration.yard import Yard
from testyard.cli.app import app
from testyard.index import RequestState, read
from testyard.queue import QueueName


def urgent_of(yard: Yard) -> QueueName:
    return QueueName("urgent", "sample", yard.architecture)


def waits(yard: Yard, queue: QueueName) -> int:
    """How many messages wait there that nobody holds."""
    return int(yard.channel.queue_declare(str(queue), passive=True).method.message_count)


def start_cli(yard: Yard, *arguments: str) -> subprocess.Popen[str]:
    """The command line, a process of its own, run by somebody who has become root by sudo."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    return subprocess.Popen(
        [sys.executable, "-m", "testyard", *arguments],
        env={**clean, **_environment(yard)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cli(yard: Yard, *arguments: str) -> str:
    """What the command line says, run in this process; it must succeed."""
    result = CliRunner().invoke(app, arguments, env=_environment(yard))
    assert result.exit_code == 0, result.output
    return str(result.output)


def _environment(yard: Yard) -> dict[str, str]:
    return {"TESTYARD_CONFIG": str(yard.write_settings()), "SUDO_USER": "jane"}


def states(engine: Engine) -> dict[str, str]:
    """By request id."""
    with engine.connect() as connection:
        return {row.request_id: str(row.state) for row in read.requests_in(connection, tuple(RequestState))}


def queued(engine: Engine) -> list[str]:
    """Ids of those that wait and are known, the oldest first."""
    with engine.connect() as connection:
        return [row.request_id for row in read.requests_in(connection, [RequestState.QUEUED])]
