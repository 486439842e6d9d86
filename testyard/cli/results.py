# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard results | show | log | queue``: what was found, what waits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testyard.adapters.amqp import dead_letters
from testyard.cli.edge import JsonOption, StateOption, command_settings, console, explained, print_json
from testyard.cli.runview import print_run, print_runs
from testyard.client import SiteClient
from testyard.errors import TestyardError

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Request id, run id, or path of a run.")]


@explained
def results(
    package: Annotated[str, typer.Argument(help="Source package.")],
    release: Annotated[str | None, typer.Option(help="Only this release.")] = None,
    arch: Annotated[str | None, typer.Option(help="Only this architecture.")] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List a package's runs, newest first."""
    with SiteClient(command_settings(state).site.url) as site:
        found = _listed(site.json(f"/packages/{quote(package, safe='')}.json"), "runs", site.url)
    runs = [
        run
        for run in found
        if (release is None or run["release"] == release) and (arch is None or run["architecture"] == arch)
    ]
    if json_:
        print_json({"source": package, "runs": runs})
    elif runs:
        print_runs(runs, console())
    else:
        raise TestyardError(f"No results for {package} there.")


@explained
def show(run: RunArgument, state: StateOption = None, json_: JsonOption = False) -> None:
    """Show one run: outcome, tests, where time went, addresses."""
    with SiteClient(command_settings(state).site.url) as site:
        found = _find(site, run)
    if json_:
        print_json(found)
    else:
        print_run(found, console())


@explained
def log(run: RunArgument, state: StateOption = None, json_: JsonOption = False) -> None:
    """Print a run's log."""
    with SiteClient(command_settings(state).site.url) as site:
        found = _find(site, run)
        pieces = site.stream(found["urls"]["log"])
        if json_:
            print_json({"run_id": found["run_id"], "log": "".join(pieces)})
            return
        for piece in pieces:
            typer.echo(piece, nl=False)


@explained
def queue(
    dead: Annotated[bool, typer.Option("--dead", help="Show requests that can never work, and why.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what runs and what waits."""
    if dead:
        _show_dead(state, as_json=json_)
        return
    with SiteClient(command_settings(state).site.url) as site:
        now = site.json("/running.json")
        requests, queues = (_listed(now, key, site.url) for key in ("requests", "queues"))
    if json_:
        print_json(now)
        return
    screen = console()
    _print_requests(requests, screen)
    _print_queues(queues, screen)


def _listed(answer: Mapping[str, Any], key: str, url: str) -> list[dict[str, Any]]:
    found = answer.get(key)
    if not isinstance(found, list):
        raise TestyardError(f"{url}: its answer has no {key}; is site.url the address of a Testyard site?")
    return found


def _find(site: SiteClient, reference: str) -> dict[str, Any]:
    runs = _listed(site.json(f"/runs/{quote(reference, safe='/@')}.json"), "runs", site.url)
    if not runs:
        raise TestyardError(f"No run {reference}.")
    return runs[0]


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
        return
    table = Table("queue", "reason", "request", "body", box=None, pad_edge=False)
    for letter in letters:
        body = Text(repr(letter.body[:60]))
        table.add_row(letter.queue, Text(letter.reason), letter.request_id, body)
    console().print(table)


def _print_requests(requests: list[dict[str, Any]], screen: Console) -> None:
    if not requests:
        screen.print("Nothing runs, and no known request waits.")
        return
    table = Table(
        "state", "package", "release", "arch", "stage", "worker", "request", box=None, pad_edge=False
    )
    for item in requests:
        phases = item["phases"]
        stage = phases[-1]["phase"] if phases and item["state"] == "running" else ""
        table.add_row(
            item["state"],
            Text(item["package"]),
            item["release"],
            item["architecture"],
            stage,
            item["worker"],
            item["request_id"],
        )
    screen.print(table)


def _print_queues(queues: list[dict[str, Any]], screen: Console) -> None:
    waiting = [item for item in queues if item["messages"]]
    screen.print()
    if not waiting:
        screen.print("All queues are empty.")
        return
    table = Table("queue", "waiting", box=None, pad_edge=False)
    for item in waiting:
        table.add_row(item["queue"], str(item["messages"]))
    screen.print(table)
