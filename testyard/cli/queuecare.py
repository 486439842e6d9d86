# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard queue list|remove|move|urgent``: what waits, and orders for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from testyard.adapters.amqp import Publisher
from testyard.cli.asking import databases, operator
from testyard.cli.confirm import YesOption, confirm
from testyard.cli.edge import (
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    command_store,
    console,
    explained,
    print_json,
    say,
)
from testyard.cli.terminal import safe_text
from testyard.duration import duration_text
from testyard.errors import RequestError
from testyard.index import RequestRow
from testyard.intake.waiting import Filter, Yard, unlisted, waiting
from testyard.queue import CONTEXTS, URGENT, QueueName
from testyard.settings import Settings

_DAY = 86400.0

PatternArgument = Annotated[
    list[str] | None, typer.Argument(metavar="PATTERN", help="Package's pattern, or beginning of an id.")
]
QueueOption = Annotated[str, typer.Option("--queue", metavar="NAME", help="Only in this queue.")]
ContextOption = Annotated[str, typer.Option("--context", metavar="NAME", help="Only of this context.")]
ReleaseOption = Annotated[str, typer.Option("--release", "-s", metavar="NAME", help="Only of this release.")]
ArchOption = Annotated[str, typer.Option("--arch", "-a", metavar="NAME", help="Only of this architecture.")]
RequesterOption = Annotated[str, typer.Option("--requester", metavar="NAME", help="Only what they asked.")]
TriggerOption = Annotated[str, typer.Option("--trigger", metavar="SOURCE[/VERSION]", help="Pattern.")]
OlderOption = Annotated[float, typer.Option("--older", metavar="DAYS", help="Only what waits for longer.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="One line that is shown.")]
ToOption = Annotated[str, typer.Option("--to", metavar="CONTEXT|QUEUE", help="Where it shall wait.")]


@explained
def list_(
    pattern: PatternArgument = None,
    queue: QueueOption = "",
    context: ContextOption = "",
    release: ReleaseOption = "",
    arch: ArchOption = "",
    requester: RequesterOption = "",
    trigger: TriggerOption = "",
    older: OlderOption = 0.0,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List what waits, the oldest first."""
    wanted = Filter(pattern or (), queue, context, release, arch, requester, trigger, older * _DAY)
    settings = command_settings(state)
    with databases(settings) as (_, index):
        _show(waiting(index, wanted), as_json=json_)
        if not json_ and (more := unlisted(index)):
            say(f"{more} more are in the queues: removed or moved, or nobody has told of them.")


@explained
def remove(
    pattern: PatternArgument = None,
    queue: QueueOption = "",
    context: ContextOption = "",
    release: ReleaseOption = "",
    arch: ArchOption = "",
    requester: RequesterOption = "",
    trigger: TriggerOption = "",
    older: OlderOption = 0.0,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """End what waits; it gets no result."""
    wanted = Filter(pattern or (), queue, context, release, arch, requester, trigger, older * _DAY)
    why = reason or f"removed by {operator().login}"
    with _orders(state, wanted) as (yard, rows, _):
        _carry_out(
            rows, lambda row: yard.remove(row, why), "removed", dry_run=dry_run, yes=yes, as_json=json_
        )


@explained
def move(
    to: ToOption,
    pattern: PatternArgument = None,
    queue: QueueOption = "",
    context: ContextOption = "",
    release: ReleaseOption = "",
    arch: ArchOption = "",
    requester: RequesterOption = "",
    trigger: TriggerOption = "",
    older: OlderOption = 0.0,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Have what waits wait in another queue, under the same id."""
    wanted = Filter(pattern or (), queue, context, release, arch, requester, trigger, older * _DAY)
    _move(state, wanted, to, dry_run=dry_run, yes=yes, as_json=json_)


@explained
def urgent(
    pattern: PatternArgument = None,
    queue: QueueOption = "",
    context: ContextOption = "",
    release: ReleaseOption = "",
    arch: ArchOption = "",
    requester: RequesterOption = "",
    trigger: TriggerOption = "",
    older: OlderOption = 0.0,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Have what waits run before all else: moves it to the context urgent."""
    wanted = Filter(pattern or (), queue, context, release, arch, requester, trigger, older * _DAY)
    _move(state, wanted, URGENT, dry_run=dry_run, yes=yes, as_json=json_)


def _move(state: Path | None, wanted: Filter, to: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    with _orders(state, wanted) as (yard, found, settings):
        homes = {row.request_id: _home(row, to, settings) for row in found}
        rows = [row for row in found if str(homes[row.request_id]) != row.queue]
        _carry_out(
            rows,
            lambda row: yard.move(row, homes[row.request_id]),
            f"moved to {to}",
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
        )


def _home(row: RequestRow, to: str, settings: Settings) -> QueueName:
    try:
        home = replace(row.queue_name, context=to) if to in CONTEXTS else QueueName.parse(to)
    except RequestError as error:
        raise UsageError(f"--to: {error.problem}", resolution="Name a context, or a whole queue.") from error
    own = row.queue_name
    if (home.release, home.architecture) != (own.release, own.architecture):
        raise UsageError(f"--to: {row.package} was asked for on {own.release} {own.architecture}")
    if home not in settings.topology.queues():
        raise UsageError(f"--to: {home} is not configured (topology)")
    return home


@contextmanager
def _orders(state: Path | None, wanted: Filter) -> Iterator[tuple[Yard, tuple[RequestRow, ...], Settings]]:
    if wanted == Filter():
        raise UsageError("PATTERN: needed, or an option that chooses", resolution="All is: '*'")
    settings = command_settings(state)
    with (
        databases(settings) as (memory, index),
        command_store(settings) as store,
        Publisher(settings.broker.url.get_secret_value()) as publisher,
    ):
        yield Yard(memory, index, store, publisher, operator()), waiting(index, wanted), settings


def _carry_out(
    rows: Sequence[RequestRow],
    order: Callable[[RequestRow], object],
    done: str,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if dry_run or not rows:
        _show(rows, as_json=as_json)
        return
    if not as_json:
        _show(rows, as_json=False)
    confirm(len(rows), "request", yes=yes)
    carried: list[RequestRow] = []
    for row in rows:
        try:
            order(row)
        except RequestError as error:  # the others can be
            say(f"{row.package}: {error.problem}", style="yellow")
        else:
            carried.append(row)
    if as_json:
        _show(carried, as_json=True)
    else:
        say(f"{len(carried)} {done}.")
    if len(carried) < len(rows):
        raise typer.Exit(1)


def _show(rows: Sequence[RequestRow], *, as_json: bool) -> None:
    if as_json:
        fields = [
            {
                "request_id": row.request_id,
                "queue": row.queue,
                "package": row.package,
                "accepted": row.accepted,
                "parameters": dict(row.parameters),
            }
            for row in rows
        ]
        print_json({"requests": fields})
        return
    if not rows:
        typer.echo("Nothing that is known waits and fits.")
        return
    now = time.time()
    table = Table("request", "package", "queue", "for", box=None, pad_edge=False)
    for row in rows:
        age = duration_text(int(now - (row.accepted or row.updated)))
        table.add_row(row.request_id, safe_text(row.package), row.queue, age)
    console().print(table)
