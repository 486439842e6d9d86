# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard local``: the whole system on this machine.

Exit codes: 0 done, 1 an error that is explained on stderr, 2 wrong usage, 3 not running.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from testyard.cli.edge import NOT_RUNNING, JsonOption, StateOption, console, explained, print_json
from testyard.errors import TestyardError
from testyard.local import supervisor
from testyard.local.logs import follow, tail
from testyard.local.parts import all_parts
from testyard.local.ports import parse_port_choice
from testyard.local.state import LocalState
from testyard.local.supervisor import PartStatus
from testyard.local.toml import Sections

app = typer.Typer(no_args_is_help=True, help="Run the whole system on this machine.")


class Testbed(StrEnum):
    """Where tests run."""

    __test__ = False

    UNSHARE = "unshare"
    NULL = "null"


PortOption = Annotated[
    list[str] | None, typer.Option("--port", metavar="PART=N", help="A part's port; free ones by default.")
]
TestbedOption = Annotated[Testbed | None, typer.Option(help="Where tests run; kept for later starts.")]


@app.command()
@explained
def up(
    state: StateOption = None,
    port: PortOption = None,
    testbed: TestbedOption = None,
    json_: JsonOption = False,
) -> None:
    """Start everything that does not run, and wait until it is healthy."""
    choices: Sections = {"worker": {"testbed": testbed.value}} if testbed else {}
    ports = dict(parse_port_choice(text) for text in port or [])
    instance = LocalState.load_or_create(state, ports=ports, settings=choices)
    _warn_of_null(instance)
    console = Console(stderr=True)

    def progress(part: str, text: str) -> None:
        console.print(f"{part:<10} {text}", markup=False, highlight=False)

    parts = supervisor.up(instance, progress)
    _print_parts(instance, parts, as_json=json_)


@app.command()
@explained
def down(state: StateOption = None) -> None:
    """End everything; requests and results are kept."""
    instance = _existing(state)
    if not supervisor.down(instance):
        _not_running(instance)
    Console(stderr=True).print("Everything has ended.")


@app.command()
@explained
def status(state: StateOption = None, json_: JsonOption = False) -> None:
    """Show each part: healthy or why not, process id, port, memory."""
    instance = _existing(state)
    running = supervisor.is_running(instance)
    _print_parts(instance, supervisor.status(instance), as_json=json_)
    if not running:
        _not_running(instance)


@app.command()
@explained
def logs(
    part: Annotated[str | None, typer.Argument(help="One part; all by default.")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Last lines to show.")] = 50,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines as they come.")] = False,
    state: StateOption = None,
) -> None:
    """Show what the parts print."""
    instance = _existing(state)
    known = [*(each.name for each in all_parts(instance)), "supervisord"]
    if part is not None and part not in known:
        raise TestyardError(f"No part {part!r}.", resolution=f"Parts: {', '.join(known)}.")
    chosen = {name: instance.log_dir / f"{name}.log" for name in known if part in {None, name}}
    # opened before the old lines are read: what comes in between is shown twice, not lost
    stream = follow(chosen) if follow_ else iter(())
    old = ((name, line) for name, path in chosen.items() for line in tail(path, lines))
    try:
        for name, line in itertools.chain(old, stream):
            typer.echo(line if part else f"{name:<11} {line}")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _existing(path: Path | None) -> LocalState:
    instance = LocalState.load(path)
    if instance is None:
        Console(stderr=True).print("No instance here. Start one: testyard local up")
        raise typer.Exit(NOT_RUNNING)
    return instance


def _not_running(instance: LocalState) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(
        f"Not running: {instance.path}. Start it: testyard local up", markup=False, highlight=False
    )
    raise typer.Exit(NOT_RUNNING)


def _warn_of_null(instance: LocalState) -> None:
    if instance.sections()["worker"].get("testbed") == Testbed.NULL.value:
        Console(stderr=True, soft_wrap=True).print(
            "Warning: the null testbed runs tests on this machine itself, unprotected, with the rights "
            "of this account. Use it only for tests that you trust.",
            style="bold yellow",
        )


def _print_parts(instance: LocalState, parts: Sequence[PartStatus], *, as_json: bool) -> None:
    if as_json:
        content = {
            "state": str(instance.path),
            "site": instance.url("web"),
            "parts": [asdict(part) for part in parts],
        }
        print_json(content)
        return
    table = Table("part", "health", "pid", "port", "memory", "up", "address", box=None, pad_edge=False)
    for part in parts:
        health = "[green]healthy[/]" if part.healthy else f"[red]{escape(part.reason)}[/]"
        table.add_row(part.name, health, *_facts(instance, part))
    console().print(table)


def _facts(instance: LocalState, part: PartStatus) -> tuple[str, ...]:
    if part.pid is None:
        return ("", str(part.port or ""), "", "", "")
    address = ""
    if part.port:
        address = f"amqp://127.0.0.1:{part.port}" if part.name == "broker" else instance.url(part.name)
    memory = f"{part.rss_bytes / 1e6:.0f} MB"
    return (str(part.pid), str(part.port or ""), memory, _duration(part.uptime), address)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
