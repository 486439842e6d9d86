# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard local``: the whole system on this machine.

Exit codes: 0 done, 1 an error that is explained on stderr, 2 wrong usage, 3 not running.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from testyard.cli.edge import (
    NOT_RUNNING,
    JsonOption,
    NoInstanceError,
    StateOption,
    UsageError,
    console,
    environment_settings,
    explained,
    print_json,
    say,
)
from testyard.cli.terminal import safe_line
from testyard.duration import duration_text
from testyard.errors import SettingsError
from testyard.local import supervisor
from testyard.local.choice import check_choices, check_files, parse_choices
from testyard.local.logs import follow, tail
from testyard.local.machine import unknown_releases
from testyard.local.parts import all_parts
from testyard.local.ports import LOOPBACK, parse_port_choice, port_warnings
from testyard.local.state import LocalState, default_state_folder
from testyard.local.supervisor import PartStatus
from testyard.local.toml import Sections

app = typer.Typer(no_args_is_help=True, help="Run the whole system on this machine.")


class Testbed(StrEnum):
    """Where tests run."""

    __test__ = False

    UNSHARE = "unshare"
    CHROOT = "chroot"
    QEMU = "qemu"
    NULL = "null"


PortOption = Annotated[
    list[str] | None, typer.Option("--port", metavar="PART=N", help="A part's port; free ones by default.")
]
TestbedOption = Annotated[Testbed | None, typer.Option(help="Where tests run; kept for later starts.")]
PartArgument = Annotated[
    str | None, typer.Argument(metavar="[PART]", help="One part; all by default.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="A setting; repeatable; kept for later starts."),
]


@app.command()
@explained
def up(
    state: StateOption = None,
    port: PortOption = None,
    testbed: TestbedOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Start everything that does not run, and wait until it is healthy."""
    choices, ports = _choices(set_ or [], testbed), _ports(port or [])
    _warn_of_environment()
    instance = LocalState.load_or_create(state, ports=ports, settings=choices)
    _warn_of_null(instance)
    _warn_of_releases(instance)
    for warning in port_warnings(ports):
        say(f"Warning: {warning}", style="yellow")
    parts = supervisor.up(instance, _progress)
    _print_parts(instance, parts, as_json=json_)
    if not json_:
        say(f"The site: {instance.url('web')}  End everything: {_command(instance, 'down')}")


@app.command()
@explained
def down(state: StateOption = None, json_: JsonOption = False) -> None:
    """End everything; requests and results are kept."""
    instance = _existing(state)
    ended = supervisor.down(instance)
    if json_:
        print_json({"state": str(instance.path), "ended": list(ended)})
    if not ended:
        _not_running(instance)
    if not json_:
        typer.echo(f"Ended: {', '.join(ended)}.")
        typer.echo(f"Requests and results are kept in {instance.path}.")
        typer.echo(f"Start again: {_command(instance, 'up')}")


@app.command()
@explained
def restart(
    part: PartArgument = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """End one part or all, also one that hangs, and start it again."""
    instance = _existing(state)
    known = [each.name for each in all_parts(instance)]
    if part is not None and part not in known:
        raise UsageError(f"PART: there is no part {part!r}.", resolution=f"Parts: {', '.join(known)}.")
    parts = supervisor.restart(instance, _progress, only=(part,) if part else ())
    _print_parts(instance, parts, as_json=json_)


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
    part: PartArgument = None,
    lines: Annotated[int, typer.Option("-n", "--lines", metavar="N", min=0, help="Last lines to show.")] = 50,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines as they come.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what the parts print. With --json and --follow: one object a line."""
    instance = _existing(state)
    known = [*(each.name for each in all_parts(instance)), "supervisord"]
    if part is not None and part not in known:
        raise UsageError(f"PART: there is no part {part!r}.", resolution=f"Parts: {', '.join(known)}.")
    chosen = {name: instance.log_dir / f"{name}.log" for name in known if part in {None, name}}
    # opened before the old lines are read: what comes in between is shown twice, not lost
    stream = follow(chosen) if follow_ else iter(())
    old = ((name, line) for name, path in chosen.items() for line in tail(path, lines))
    if json_ and not follow_:
        print_json({"lines": [{"part": name, "line": line} for name, line in old]})
        return
    try:
        for name, text in itertools.chain(old, stream):
            line = safe_line(text) if sys.stdout.isatty() else text
            if json_:
                typer.echo(json.dumps({"part": name, "line": line}, ensure_ascii=False))
            else:
                typer.echo(line if part else f"{name:<11} {line}")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _progress(part: str, text: str) -> None:
    say(f"{part:<10} {text}")


def _choices(texts: list[str], testbed: Testbed | None) -> Sections:
    """What --set and --testbed ask for. Raises UsageError."""
    try:
        choices = parse_choices(texts)
        if testbed:
            choices.setdefault("worker", {})["testbed"] = testbed.value
        check_choices(choices)
        check_files(choices)
    except SettingsError as error:
        raise UsageError(error.brief, details=error.details, resolution=error.resolution) from error
    return choices


def _ports(texts: list[str]) -> dict[str, int]:
    try:
        return dict(parse_port_choice(text) for text in texts)
    except SettingsError as error:
        raise UsageError(error.brief, resolution=error.resolution) from error


def _existing(path: Path | None) -> LocalState:
    instance = LocalState.load(path)
    if instance is None:
        raise NoInstanceError(path or default_state_folder(), chosen=path is not None)
    return instance


def _not_running(instance: LocalState) -> NoReturn:
    say(f"Not running: {instance.path}. Start it: {_command(instance, 'up')}")
    raise typer.Exit(NOT_RUNNING)


def _command(instance: LocalState, word: str) -> str:
    """A command of this group, for this instance, as a person would type it."""
    at_hand = os.environ.get("TESTYARD_STATE")
    if Path(at_hand).absolute() == instance.path if at_hand else instance.path == default_state_folder():
        return f"testyard local {word}"
    return f"testyard local {word} --state {shlex.quote(str(instance.path))}"


def _warn_of_environment() -> None:
    names = environment_settings()
    if names:
        say(
            f"Note: {', '.join(names)} in the environment: not passed on to the instance's parts. "
            "Settings of an instance: --set SECTION.KEY=VALUE.",
            style="yellow",
        )


def _warn_of_null(instance: LocalState) -> None:
    if instance.sections()["worker"].get("testbed") == Testbed.NULL.value:
        say(
            "Warning: the null testbed runs tests on this machine itself, unprotected, with the rights "
            "of this account. Use it only for tests that you trust.",
            style="bold yellow",
        )


def _warn_of_releases(instance: LocalState) -> None:
    sections = instance.sections()
    names = sections["topology"]["releases"]
    if sections["worker"].get("testbed") == Testbed.NULL.value or not isinstance(names, tuple | list):
        return
    unknown = unknown_releases(names)
    if unknown:
        say(
            f"Warning: apt on this machine knows no archive of {', '.join(unknown)}: tests there fail for "
            "want of a root tree. Add it to the apt sources, and run apt-get update.",
            style="yellow",
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
        table.add_row(part.name, health, *_facts(part))
    console().print(table)


def _facts(part: PartStatus) -> tuple[str, ...]:
    if part.pid is None:
        return ("", str(part.port or ""), "", "", "")
    address = ""
    if part.port:
        address = f"{'amqp' if part.name == 'broker' else 'http'}://{LOOPBACK}:{part.port}"
    memory = f"{part.rss_bytes / 1e6:.0f} MB"
    return (str(part.pid), str(part.port or ""), memory, duration_text(int(part.uptime)), address)
