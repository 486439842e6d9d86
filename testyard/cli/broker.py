# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard broker``: the message broker's queues."""

from __future__ import annotations

import pika
import typer

from testyard.adapters.amqp import broker_errors, connection_parameters, declare_topology
from testyard.cli.edge import JsonOption, StateOption, command_settings, explained, print_json
from testyard.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Set up the message broker.")


@app.callback()
def _group() -> None:
    """Keeps ``setup`` a command of its own."""


@app.command()
@explained
def setup(state: StateOption = None, json_: JsonOption = False) -> None:
    """Create every queue and exchange that is missing, for the configured releases and architectures."""
    settings = command_settings(state)
    queues = settings.topology.queues()
    if not queues:
        raise SettingsError(
            "topology: no releases or no architectures are set",
            resolution="Set topology.releases and topology.architectures; see docs/settings.md.",
        )
    with broker_errors("connect"):
        parameters = connection_parameters(settings.broker.url.get_secret_value())
        connection = pika.BlockingConnection(parameters)
    with connection:
        declare_topology(connection.channel(), queues)
    names = [str(queue) for queue in queues]
    if json_:
        print_json({"queues": names})
    else:
        typer.echo("\n".join(names))
