# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request that has no stored run yet, as the terminal shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from testyard.cli.runview import phase_label, phases_table, place
from testyard.cli.terminal import safe_text
from testyard.client import SiteClient
from testyard.duration import duration_text
from testyard.index import RequestState

Request = Mapping[str, Any]

_STYLES = {RequestState.RUNNING: "blue", RequestState.DONE: "green", RequestState.REJECTED: "red"}


def waits_before(site: SiteClient, request: Request) -> int | None:
    """How many known requests stand before a queued one in its queue; None if that is not known."""
    if request.get("state") != RequestState.QUEUED:
        return None
    waiting = [
        item["request_id"]
        for item in site.json("/running.json").get("requests", [])
        if item["state"] == RequestState.QUEUED and item["queue"] == request["queue"]
    ]
    return waiting.index(request["request_id"]) if request["request_id"] in waiting else None


def request_line(request: Request) -> str:
    """Where it is, in a few words without a full stop."""
    state, now = request["state"], time.time()
    since = request["taken"] if state == RequestState.RUNNING else request["accepted"]
    lasted = f" for {duration_text(int(now - (since or request['updated'])))}"
    if state == RequestState.RUNNING:
        stage = phase_label(request["phases"][-1]) if request["phases"] else "starting"
        return f"it runs{lasted}, now at: {stage}"
    if state == RequestState.QUEUED:
        return f"it waits in {request['queue']}{lasted}"
    if state == RequestState.REJECTED:
        return f"it was not run: {request['reason'] or 'no reason was given'}"
    if state == RequestState.CANCELLED:
        return f"it was cancelled: {request['reason'] or 'no reason was given'}"
    return "it has ended, and its result is not to be seen here (yet)"


def print_request(request: Request, before: int | None, console: Console) -> None:
    """State, stages so far, addresses, and how to follow it."""
    state = request["state"]
    console.print()
    head = Text(f"{safe_text(request['package'])} on {place(request)}: ")
    head.append(state, style=f"bold {_STYLES.get(state, 'yellow')}")
    console.print(head + Text(f" ({safe_text(request_line(request))})"))
    console.print()
    if state == RequestState.RUNNING and request["phases"]:
        console.print(phases_table(request["phases"], time.time()))
        console.print()
    for label, value in _facts(request, before):
        console.print(f"{label:<10} {safe_text(value)}", markup=False, highlight=False)


def _facts(request: Request, before: int | None) -> list[tuple[str, str]]:
    request_id, state = request["request_id"], request["state"]
    under_way = state in (RequestState.QUEUED, RequestState.RUNNING)
    pairs = [
        ("request", request_id),
        ("queue", request["queue"]),
        ("position", _position(before)),
        ("worker", request["worker"]),
        ("returned", request["reason"] if under_way else ""),
        ("page", request["url"]),
        ("follow it", f"testyard follow {request_id}" if under_way else ""),
        ("log so far", f"testyard log {request_id}" if state == RequestState.RUNNING else ""),
        ("its body", "testyard queue --dead" if state == RequestState.REJECTED else ""),
    ]
    return [(label, str(value)) for label, value in pairs if value]


def _position(before: int | None) -> str:
    if before is None:
        return ""
    if before == 0:
        return "the next one to be taken"
    return f"{before + 1}, {before} {'request' if before == 1 else 'requests'} before it"
