# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard retry``: ask again for what was run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Connection, Engine

from testyard.cli.asking import ask_and_show, ask_slowly, databases
from testyard.cli.confirm import YesOption, confirm
from testyard.cli.edge import (
    JsonOption,
    UsageError,
    command_settings,
    console,
    explained,
    print_json,
    say,
)
from testyard.cli.reference import BEGINNING, canonical
from testyard.cli.runview import outcome_text
from testyard.cli.submit import ForceOption
from testyard.cli.terminal import safe_text
from testyard.errors import RequestError
from testyard.index import RunRow, index_errors
from testyard.index.read import find_runs, requests_beginning
from testyard.intake.again import wish_again
from testyard.intake.selection import Choice, Kind, chosen
from testyard.intake.submit import Wish
from testyard.settings import Settings

_AGE = re.compile(r"(\d+(?:\.\d+)?)?\.\.(\d+(?:\.\d+)?)?")


@explained
def retry(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="As `testyard show` takes it.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="KIND|DIR",
            help="Instead of RUN: regression, fail or tmpfail. Anything else is the local instance's folder.",
        ),
    ] = None,
    release: Annotated[
        list[str] | None, typer.Option("--release", "-s", metavar="NAME", help="Repeatable.")
    ] = None,
    arch: Annotated[
        list[str] | None, typer.Option("--arch", "-a", metavar="NAME", help="Repeatable.")
    ] = None,
    age: Annotated[
        str, typer.Option(metavar="MIN..MAX", help="Days since the run; either may be left out.")
    ] = "..60",
    trigger: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE[/VERSION]", help="Pattern; repeatable.")
    ] = None,
    package: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Package; repeatable.")] = None,
    blocked_by: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Whose triggers this package's tests hold up; repeatable."),
    ] = None,
    force: ForceOption = False,
    rate: Annotated[
        float,
        typer.Option("--rate", metavar="N", min=0, help="Ask for N a minute at most."),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked for.")] = False,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Ask again for what was run: same queue, same parameters, a new request."""
    kinds, folders = _kinds_and_folders(state or ())
    if bool(runs) is bool(kinds):
        raise UsageError("RUN or --state KIND: one of them is needed, not both")
    settings = command_settings(folders[0] if folders else _usual_folder())
    youngest, oldest = _ages(age)
    with databases(settings) as (memory, index):
        found = (
            _chosen(
                index,
                Choice(
                    kinds[0],
                    tuple(release or ()),
                    tuple(arch or ()),
                    youngest,
                    oldest,
                    tuple(trigger or ()),
                    tuple(package or ()),
                    tuple(blocked_by or ()),
                ),
            )
            if kinds
            else _named(index, runs or [], settings)
        )
        wishes = _wishes(memory, index, found, force=force, strict=not kinds)
    if dry_run or not wishes:
        _show(wishes, as_json=json_)
        return
    confirm(len(wishes), "request", yes=yes)
    wanted = [wish for _, wish in wishes]
    if rate:
        ask_slowly(settings, wanted, pause=60 / rate, as_json=json_)
    else:
        ask_and_show(settings, wanted, as_json=json_)


def _kinds_and_folders(words: Sequence[str]) -> tuple[list[Kind], list[Path]]:
    """What ``--state`` was given, one of each at most. Raises UsageError."""
    kinds = [Kind(word) for word in words if word in tuple(Kind)]
    folders = [Path(word) for word in words if word not in tuple(Kind)]
    for folder in folders:
        if "/" not in str(folder) and not folder.is_dir():
            raise UsageError(f"--state: {str(folder)!r} is none of {', '.join(Kind)}, and no folder")
    if len(kinds) > 1 or len(folders) > 1:
        raise UsageError(f"--state: one of {', '.join(Kind)}; and one folder")
    return kinds, folders


def _usual_folder() -> Path | None:
    named = os.environ.get("TESTYARD_STATE")
    return Path(named) if named else None


def _ages(text: str) -> tuple[float, float]:
    found = _AGE.fullmatch(text)
    if not found:
        raise UsageError(
            f"--age: {text!r} is not MIN..MAX in days", resolution="Write --age 1..14, or --age 3.."
        )
    youngest, oldest = float(found[1] or 0), float(found[2] or 365)
    if youngest > oldest:
        raise UsageError(f"--age: {text!r} begins after its end")
    return youngest, oldest


def _chosen(index: Engine, choice: Choice) -> tuple[RunRow, ...]:
    with index_errors(), index.connect() as connection:
        return chosen(connection, choice)


def _named(index: Engine, references: Sequence[str], settings: Settings) -> tuple[RunRow, ...]:
    found: dict[tuple[str, str], RunRow] = {}
    with index_errors(), index.connect() as connection:
        for reference in references:
            row = _only(connection, reference, canonical(reference, settings))
            found[row.container, str(row.path)] = row
    return tuple(found.values())


def _only(connection: Connection, reference: str, name: str) -> RunRow:
    rows = find_runs(connection, name) or _beginning(connection, name)
    if not rows:
        raise UsageError(
            f"RUN: no stored run {reference} is known here",
            resolution="Its id, its path, the address of its page or its request's id; see testyard results.",
        )
    by_request = any(row.request_id == name for row in rows)
    if len(rows) > 1 and not by_request:
        raise UsageError(
            f"RUN: {reference} is the id of {len(rows)} runs",
            resolution=f"Name one by its path: {rows[0].path}",
        )
    return rows[0]


def _beginning(connection: Connection, text: str) -> tuple[RunRow, ...]:
    """The runs of the only request whose id begins so. Raises UsageError if there are several."""
    if not BEGINNING.fullmatch(text.lower()):
        return ()
    found = [row.request_id for row in requests_beginning(connection, text.lower())]
    if len(found) > 1:
        raise UsageError(f"RUN: {len(found)} requests have ids that begin with {text}: give more of it")
    return find_runs(connection, found[0]) if found else ()


def _wishes(
    memory: Engine, index: Engine, runs: Sequence[RunRow], *, force: bool, strict: bool
) -> list[tuple[RunRow, Wish]]:
    """What to ask for. Of runs that were named, one that cannot be is an error; of others a note."""
    found: list[tuple[RunRow, Wish]] = []
    with index_errors(), memory.connect() as asked, index.connect() as known:
        for run in runs:
            try:
                found.append((run, wish_again(asked, known, run, force=force)))
            except RequestError as error:
                if strict:
                    raise UsageError(f"RUN: {run.run_id}: {error.problem}") from error
                say(f"{run.source} {run.run_id}: left out: {error.problem}", style="yellow")
    return found


def _show(wishes: Sequence[tuple[RunRow, Wish]], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "requests": [
                    {
                        "run": str(run.path),
                        "outcome": str(run.outcome),
                        "package": wish.package,
                        "queue": str(wish.queue),
                        "parameters": dict(wish.parameters),
                    }
                    for run, wish in wishes
                ]
            }
        )
        return
    if not wishes:
        typer.echo("No run fits.")
        return
    table = Table("outcome", "package", "queue", "triggers", box=None, pad_edge=False)
    for run, wish in wishes:
        table.add_row(
            outcome_text(str(run.outcome)),
            safe_text(wish.package),
            str(wish.queue),
            safe_text(" ".join(run.triggers[:3]) + (" …" if len(run.triggers) > 3 else "")),
        )
    console().print(table)
    say(f"{len(wishes)} would be asked for.")
