# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard results | show | log``: what came out, and what is still under way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import typer

from testyard.cli.edge import (
    JsonOption,
    StateOption,
    command_settings,
    console,
    explained,
    print_json,
    say,
)
from testyard.cli.reference import canonical, find, listed
from testyard.cli.requestview import print_request, request_line, waits_before
from testyard.cli.runview import print_run, print_runs
from testyard.cli.terminal import safe_lines
from testyard.client import NotThereError, SiteClient
from testyard.errors import TestyardError
from testyard.index import RequestState
from testyard.index.write import LOG_TAIL

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Request id, run id, path of a run, or address of its page.")
]
RawOption = Annotated[
    bool, typer.Option("--raw", help="Print it byte for byte, also on a terminal: it may steer that.")
]


@explained
def results(
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="Source package.")],
    release: Annotated[str | None, typer.Option(metavar="NAME", help="Only this release.")] = None,
    arch: Annotated[str | None, typer.Option(metavar="NAME", help="Only this architecture.")] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List a package's runs, newest first."""
    with SiteClient(command_settings(state).site.url) as site:
        try:
            found = listed(site.json(f"/packages/{quote(package, safe='')}.json"), "runs", site.url)
        except NotThereError as error:
            raise TestyardError(
                error.brief,
                resolution=f"What runs and waits: testyard queue. Ask for a run: testyard request {package}",
            ) from error
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
        places = sorted({f"{run['release']} {run['architecture']}" for run in found})
        raise TestyardError(
            f"No results for {package} there.", resolution=f"There are some on: {', '.join(places)}."
        )


@explained
def show(run: RunArgument, state: StateOption = None, json_: JsonOption = False) -> None:
    """Show a run: outcome, tests, where time went, addresses; before its end, where its request is."""
    settings = command_settings(state)
    reference = canonical(run, settings)
    with SiteClient(settings.site.url) as site:
        found = find(site, reference)
        before = waits_before(site, found.request) if found.request else None
    if json_:
        print_json(found.run or found.request)
    elif found.run:
        print_run(found.run, console())
    elif found.request:
        print_request(found.request, before, console())


@explained
def log(
    run: RunArgument,
    raw: RawOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Print a run's log; of one that has not ended, the newest lines so far."""
    settings = command_settings(state)
    reference = canonical(run, settings)
    with SiteClient(settings.site.url) as site:
        found = find(site, reference)
        if found.run is None:
            _print_tail(found.request or {}, as_json=json_, raw=raw)
            return
        pieces = site.stream(found.run["urls"]["log"])
        if json_:
            print_json({"run_id": found.run["run_id"], "log": "".join(pieces)})
        else:
            _print_log(pieces, raw=raw)


def _print_log(pieces: Iterator[str], *, raw: bool) -> None:
    if raw or not sys.stdout.isatty():
        for piece in pieces:
            typer.echo(piece, nl=False, color=True)  # else click takes the colours out
        return
    for line in safe_lines(pieces):
        typer.echo(line, color=True)


def _print_tail(request: dict[str, Any], *, as_json: bool, raw: bool) -> None:
    """The log so far of a request without a stored run. Raises TestyardError if there is none."""
    tail = str(request.get("log_tail", ""))
    if as_json and request["state"] == RequestState.RUNNING:
        fields = {"request_id": request["request_id"], "state": request["state"], "log": tail}
        print_json({"run_id": None, **fields})
        return
    if request["state"] != RequestState.RUNNING:
        reason = request_line(request)
        raise TestyardError(
            f"There is no log: {reason}.", resolution=f"More: testyard show {request['request_id']}"
        )
    if request["log_end"] > LOG_TAIL:
        say("… the log's first lines can be had when the run has ended …", style="dim")
    _print_log(iter([tail]), raw=raw)
    say(f"So far: {request_line(request)}. Go on: testyard follow {request['request_id']}", style="dim")
