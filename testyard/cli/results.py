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
from testyard.cli.follow import log_pieces
from testyard.cli.followed import interruptible
from testyard.cli.reference import canonical, find, listed
from testyard.cli.requestview import print_request, request_line, waits_before
from testyard.cli.runview import print_run, print_runs
from testyard.cli.terminal import safe_lines
from testyard.client import NotThereError, SiteClient
from testyard.errors import TestyardError
from testyard.index import RequestState

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


FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Of a run that has not ended, go on until it does.")
]


@explained
def log(
    run: RunArgument,
    follow: FollowOption = False,
    raw: RawOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Print a run's log, from its first line on; of one that has not ended, so far."""
    settings = command_settings(state)
    reference = canonical(run, settings)
    with SiteClient(settings.site.url) as site:
        found = find(site, reference)
        if found.run is None:
            request = found.request or {}
            with interruptible(str(request.get("request_id"))):
                _print_so_far(site, request, follow=follow, as_json=json_, raw=raw)
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


def _print_so_far(
    site: SiteClient, request: dict[str, Any], *, follow: bool, as_json: bool, raw: bool
) -> None:
    """The log of a request without a stored run. Raises TestyardError if there is none."""
    request_id, state = str(request["request_id"]), request["state"]
    if state != RequestState.RUNNING and not (follow and state == RequestState.QUEUED):
        raise TestyardError(
            f"There is no log: {request_line(request)}.", resolution=f"More: testyard show {request_id}"
        )
    pieces = log_pieces(site, request_id) if follow else site.stream(f"{site.url}/requests/{request_id}/log")
    if as_json:
        print_json({"run_id": None, "request_id": request_id, "state": state, "log": "".join(pieces)})
        return
    _print_log(pieces, raw=raw)
    if not follow:
        say(f"So far: {request_line(request)}. Go on: testyard log --follow {request_id}", style="dim")
