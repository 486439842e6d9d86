# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands plan, deploy, status, destroy."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from infra.settings import Settings, load_settings
from infra.tools.checks import problems
from infra.tools.cloud import cloud_of
from infra.tools.options import StageArgument
from infra.tools.stacks import Change, in_short, stacks, synthesise
from testyard.cli.confirm import YesOption, confirm
from testyard.cli.edge import JsonOption, explained, print_json, say
from testyard.errors import TestyardError

StackOption = Annotated[
    list[str] | None, typer.Option("--stack", metavar="NAME", help="Only this one; repeatable.")
]


@explained
def plan(stage: StageArgument, only: StackOption = None, json_: JsonOption = False) -> None:
    """Show what `deploy` would do. A stack whose ground is not there yet cannot be planned."""
    load_settings(stage)
    synthesise(stage)
    found: dict[str, list[Change]] = {}
    for stack in stacks(only or ()):
        stack.init()
        try:
            found[stack.name] = list(stack.plan())
        except TestyardError as error:
            if stack.resources() or not found:
                raise
            say(f"{stack.name}: not planned: what it stands on is not there yet", style="yellow")
            say(error.details.splitlines()[0] if error.details else "")
            continue
        if not json_:
            typer.echo(f"{stack.name}: {in_short(found[stack.name])}")
            for change in found[stack.name]:
                typer.echo(f"  {change.deed:<8}{change.address}")
    if json_:
        print_json({"stacks": {name: [asdict(each) for each in changes] for name, changes in found.items()}})


@explained
def deploy(
    stage: StageArgument,
    only: StackOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `plan`.")] = False,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Make a stage what its settings say. What would fail half-way is looked for first."""
    if dry_run:
        plan(stage, only, json_)
        return
    settings = load_settings(stage)
    _check_clouds(settings)
    synthesise(stage)
    wanted = stacks(only or ())
    confirm(len(wanted), "stack", yes=yes, few=0)
    done: dict[str, list[Change]] = {}
    for stack in wanted:
        stack.init()
        changes = done[stack.name] = list(stack.plan())
        say(f"{stack.name}: {in_short(changes)}")
        if gone := [change for change in changes if change.deed in ("replace", "delete")]:
            for change in gone:
                say(f"  {change.deed:<8}{change.address}", style="yellow")
            confirm(len(gone), "removal", yes=yes, few=0)
        if changes:
            stack.apply()
    if json_:
        print_json({"stacks": {name: [asdict(each) for each in changes] for name, changes in done.items()}})


@explained
def status(stage: StageArgument, only: StackOption = None, json_: JsonOption = False) -> None:
    """Show what there is of each stack, and what it tells the others and the services."""
    load_settings(stage)
    synthesise(stage)
    found: dict[str, dict[str, Any]] = {}
    for stack in stacks(only or ()):
        stack.init()
        resources = stack.resources()
        found[stack.name] = {"resources": resources, "outputs": stack.outputs() if resources else {}}
        if not json_:
            typer.echo(f"{stack.name}: {_counted(len(resources))}")
            for name, value in found[stack.name]["outputs"].items():
                typer.echo(f"  {name} = {json.dumps(value)}")
    if json_:
        print_json({"stacks": found})


@explained
def destroy(stage: StageArgument, only: StackOption = None, yes: YesOption = False) -> None:
    """Delete a stage, the last stack first. In production what holds data cannot be deleted so."""
    load_settings(stage)
    synthesise(stage)
    wanted = stacks(only or ())
    confirm(len(wanted), "stack", yes=yes, few=0)
    for stack in reversed(wanted):
        stack.init()
        count = len(stack.resources())
        if count:
            stack.destroy()
        say(f"{stack.name}: {_counted(count)} deleted")


def _check_clouds(settings: Settings) -> None:
    """Raises TestyardError with all that would make it fail."""
    found: list[str] = []
    for region in settings.regions:
        with cloud_of(region) as session:
            found += problems(session, settings, region)
    if found:
        raise TestyardError(
            f"{len(found)} things would make it fail; nothing was made.", details="\n".join(found)
        )


def _counted(count: int) -> str:
    return f"{count or 'no'} resource{'' if count == 1 else 's'}"
