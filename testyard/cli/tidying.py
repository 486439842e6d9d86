# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard queue tidy``: end what waits in vain."""

from __future__ import annotations

import time

import typer

from testyard.adapters.amqp import Publisher
from testyard.cli.asking import databases, operator
from testyard.cli.confirm import YesOption, confirm
from testyard.cli.edge import (
    JsonOption,
    StateOption,
    command_settings,
    command_store,
    explained,
    print_json,
    say,
)
from testyard.cli.queuecare import DryRunOption
from testyard.cli.terminal import safe_text
from testyard.duration import duration_text
from testyard.intake.care import find_useless
from testyard.intake.published import Published
from testyard.intake.waiting import Yard


@explained
def tidy(
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """End what waits in vain: the same twice, older pushes, triggers that are gone."""
    settings = command_settings(state)
    with databases(settings) as (memory, index):
        found = find_useless(Published(settings), memory, index)
        if json_:
            print_json(
                {
                    "useless": [
                        {"request_id": one.row.request_id, "queue": one.row.queue, "reason": one.reason}
                        for one in found
                    ]
                }
            )
        elif not found:
            typer.echo("Nothing waits in vain.")
        else:
            for one in found:
                age = duration_text(int(time.time() - (one.row.accepted or one.row.updated)))
                typer.echo(f"{one.row.request_id} {safe_text(one.row.package)} {one.row.queue} {age}")
                typer.echo(f"  {safe_text(one.reason)}")
        if dry_run or not found:
            return
        confirm(len(found), "request", yes=yes)
        with (
            command_store(settings) as store,
            Publisher(settings.broker.url.get_secret_value()) as publisher,
        ):
            yard = Yard(memory, index, store, publisher, operator())
            for one in found:
                yard.remove(one.row, one.reason)
    say(f"{len(found)} removed.")
