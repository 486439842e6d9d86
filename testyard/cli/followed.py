# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard follow``: watch a request that was sent before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from testyard.cli.edge import (
    INTERRUPTED,
    NOT_PASSED,
    JsonOption,
    StateOption,
    command_settings,
    explained,
    print_json,
    say,
)
from testyard.cli.follow import follow as watch_to_end
from testyard.cli.reference import canonical, find
from testyard.cli.runview import print_run
from testyard.client import NotThereError, SiteClient
from testyard.errors import RequestError
from testyard.index import RequestState


@explained
def follow(
    reference: Annotated[
        str, typer.Argument(metavar="REQUEST", help="Request id, or address of the request's page.")
    ],
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Watch a request that waits or runs until it is done, then show its run."""
    settings = command_settings(state)
    screen = Console(stderr=json_, soft_wrap=True)
    name = canonical(reference, settings)
    with SiteClient(settings.site.url) as site:
        found = find(site, name)
        if found.run:  # it has ended
            print_run(found.run, screen)
            finish(str(found.run["request_id"] or ""), _queue_of(site, found.run), found.run, json_)
            return
        known = found.request or {}
        if known["state"] == RequestState.REJECTED:
            raise RequestError("request", known["reason"] or "rejected; testyard queue --dead shows why")
        if known["state"] == RequestState.CANCELLED:
            raise RequestError("request", f"it was cancelled: {known['reason']}")
        request_id = str(known["request_id"])
        screen.print(f"request {request_id} is in {known['queue']}", highlight=False)
        with interruptible(request_id):
            run = watch_to_end(site, request_id, screen)
    finish(request_id, str(known["queue"]), run, json_)


def _queue_of(site: SiteClient, run: Mapping[str, Any]) -> str:
    """The queue of an ended run's request; empty if nobody told of it."""
    try:
        return str(site.json(f"/requests/{run['request_id']}.json")["queue"]) if run["request_id"] else ""
    except NotThereError:
        return ""


def finish(request_id: str, queue: str, run: Mapping[str, Any], as_json: bool) -> None:
    """End the command as its run ended: exit code 4 if it did not pass."""
    if as_json:
        print_json({"request_id": request_id, "queue": queue, "run": run})
    if run.get("outcome") not in ("pass", "neutral"):
        raise typer.Exit(NOT_PASSED)


@contextmanager
def interruptible(request_id: str) -> Iterator[None]:
    """Ctrl-C ends the watching only, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Not watched any more; request {request_id} goes on by itself.", style="yellow")
        say(f"Watch it again: testyard follow {request_id}")
        say(f"Where it is now: testyard show {request_id}")
        raise typer.Exit(INTERRUPTED) from None
