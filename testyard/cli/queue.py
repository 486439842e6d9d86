# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard queue``: what runs, what waits, and what can never work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testyard.adapters.deadletters import DeadLetter, dead_letters
from testyard.cli import queuecare, requeuing, tidying
from testyard.cli.edge import JsonOption, StateOption, command_settings, console, explained, print_json
from testyard.cli.reference import listed
from testyard.cli.runview import place
from testyard.cli.terminal import safe_text
from testyard.client import SiteClient
from testyard.duration import duration_text
from testyard.index import RequestState
from testyard.secrets import masked_text

#: From this width on there is room for the workers' names and the times.
_WIDE = 110
#: Characters of a dead letter's body that are shown; ``--json`` has all.
_BODY = 300


app = typer.Typer(
    invoke_without_command=True, help="What runs and what waits; remove, move and send back what waits."
)
app.command("list")(queuecare.list_)
app.command("remove")(queuecare.remove)
app.command("move")(queuecare.move)
app.command("urgent")(queuecare.urgent)
app.command("requeue")(requeuing.requeue)
app.command("tidy")(tidying.tidy)


@app.callback()
@explained
def queue(
    context: typer.Context,
    dead: Annotated[bool, typer.Option("--dead", help="Show requests that can never work, and why.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what runs and what waits."""
    if context.invoked_subcommand is not None:
        return
    if dead:
        _show_dead(state, as_json=json_)
        return
    with SiteClient(command_settings(state).site.url) as site:
        now = site.json("/running.json")
        requests, queues = (listed(now, key, site.url) for key in ("requests", "queues"))
    if json_:
        print_json(now)
        return
    screen = console()
    _print_requests(requests, screen)
    _print_queues(queues, screen)


def _print_requests(requests: Sequence[dict[str, Any]], screen: Console) -> None:
    if not requests:
        screen.print("Nothing runs, and no known request waits.")
        return
    wide, now = screen.width >= _WIDE, time.time()
    columns = ("state", "package", "where", *(("for", "worker") if wide else ()), "request")
    table = Table(*columns, box=None, pad_edge=False)
    for item in requests:
        running = item["state"] == RequestState.RUNNING
        stage = item["phases"][-1]["phase"] if running and item["phases"] else item["state"]
        since = (item["taken"] if running else item["accepted"]) or item["updated"]
        more = (duration_text(int(now - since)), safe_text(item["worker"])) if wide else ()
        state = Text(stage, style="blue" if running else "yellow")
        table.add_row(state, Text(safe_text(item["package"])), place(item), *more, item["request_id"])
    screen.print(table)


def _print_queues(queues: Sequence[dict[str, Any]], screen: Console) -> None:
    waiting = [item for item in queues if item["messages"]]
    screen.print()
    if not waiting:
        screen.print("All queues are empty.")
        return
    table = Table("queue", "waiting", "", box=None, pad_edge=False)
    for item in waiting:
        note = "" if item["consumers"] else "no worker takes from it; testyard worker list"
        table.add_row(item["queue"], str(item["messages"]), Text(note, style="red"))
    screen.print(table)


def _show_dead(state: Path | None, *, as_json: bool) -> None:
    letters = dead_letters(command_settings(state).broker.url.get_secret_value())
    if as_json:
        fields = [
            {
                "queue": letter.queue,
                "reason": letter.reason,
                "request_id": letter.request_id,
                "body": letter.body.decode(errors="replace"),
            }
            for letter in letters
        ]
        print_json({"dead": fields})
        return
    if not letters:
        typer.echo("No dead letters.")
    for number, letter in enumerate(letters):
        _print_letter(letter, Console(), first=number == 0)


def _print_letter(letter: DeadLetter, screen: Console, *, first: bool) -> None:
    if not first:
        screen.print()
    screen.print(Text(safe_text(letter.reason), style="bold red"))
    table = Table(show_header=False, box=None, pad_edge=False)
    body = masked_text(letter.body.decode(errors="backslashreplace"))
    shown = body if len(body) <= _BODY else f"{body[:_BODY]}… ({len(letter.body)} bytes)"
    rows = {"queue": letter.queue, "request": letter.request_id, "body": shown}
    for label, value in rows.items():
        if value:
            table.add_row(Text(f"  {label}", style="dim"), Text(safe_text(value), overflow="fold"))
    screen.print(table)
