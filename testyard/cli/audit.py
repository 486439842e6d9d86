# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard audit``: who did what."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from testyard.cli.edge import (
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    console,
    explained,
    print_json,
    say,
)
from testyard.cli.terminal import safe_text
from testyard.duration import age_text
from testyard.errors import RequestError
from testyard.fields import request_id
from testyard.index import index_errors
from testyard.intake import create_intake, intake_engine
from testyard.intake.audit import Action, Deed, deeds
from testyard.settings import Settings

#: From this width on there is room for addresses and exact times.
_WIDE = 130
#: Characters of a detail.
_LONGEST = 100


@explained
def audit(
    owner: Annotated[str, typer.Option("--owner", metavar="PROVIDER/NAME", help="Only what they did.")] = "",
    request: Annotated[str, typer.Option("--request", metavar="ID", help="Only about this request.")] = "",
    action: Annotated[
        str,
        typer.Option(
            "--action",
            metavar="WORDS",
            help="Only this: 'request refused'; 'refused' or 'hook' for all such.",
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10000, help="Lines at most.")] = 50,
    before: Annotated[
        int | None, typer.Option("--before", metavar="NUMBER", help="Older than the line of this number.")
    ] = None,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show who did what, the newest first."""
    wanted = _actions(action)
    found = _deeds(
        command_settings(state),
        owner=owner,
        request_id=_id(request),
        actions=wanted,
        before=before,
        limit=limit,
    )
    if json_:
        print_json({"deeds": [_json(number, deed) for number, deed in found]})
        return
    if not found:
        typer.echo("Nothing is noted.")
        return
    screen, now = console(), time.time()
    wide = screen.width >= _WIDE
    table = Table("time" if wide else "when", "who", "what", "request", "", box=None, pad_edge=False)
    for _, deed in found:
        when = _utc(deed.time) if wide else age_text(deed.time, now)
        who = deed.owner or "somebody"
        place = f" from {deed.address}" if wide and deed.address else ""
        request_id = deed.request_id or ""
        shown = (f"{who}{place}", deed.action, request_id if wide else request_id[:8], _about(deed.details))
        table.add_row(when, *(Text(safe_text(text)) for text in shown))
    screen.print(table)
    if len(found) == limit:
        say(f"There may be older ones: --before {found[-1][0]}")


def _deeds(settings: Settings, **which: Any) -> tuple[tuple[int, Deed], ...]:
    engine = intake_engine(settings)
    try:
        create_intake(engine)
        with index_errors(), engine.connect() as connection:
            return deeds(connection, **which)
    finally:
        engine.dispose()


def _actions(words: str) -> tuple[Action, ...]:
    """All that have these words; none for all."""
    text = " ".join(words.lower().split())
    found = tuple(action for action in Action if text and text in action)
    if text and not found:
        raise UsageError(f"--action: {words!r} is in none of: {', '.join(Action)}")
    return (Action(text),) if text in found else found


def _id(text: str) -> str:
    try:
        return request_id("--request", text) or "" if text else ""
    except RequestError as error:
        raise UsageError(error.brief) from error


def _about(details: Mapping[str, Any]) -> str:
    """What there is to know in a few words: values of the details, the longest cut."""
    words = []
    for key, value in details.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if text and text not in ("{}", "[]", "null"):
            words.append(text if key in ("package", "queue", "name") else f"{key}: {_short(text)}")
    return ", ".join(words)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _json(number: int, deed: Deed) -> dict[str, Any]:
    return {
        "number": number,
        "time": deed.time,
        "action": str(deed.action),
        "owner": deed.owner,
        "address": deed.address,
        "request_id": deed.request_id,
        "details": dict(deed.details),
    }
