# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard queue requeue``: dead letters back to where they came from.

A letter goes as it is: who wants another body asks anew (`testyard request`), under another id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from testyard.adapters.deadletters import Letter, requeue_letters
from testyard.cli.asking import databases, has_database, operator
from testyard.cli.confirm import YesOption, confirm
from testyard.cli.edge import (
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    explained,
    print_json,
    say,
)
from testyard.cli.queuecare import DryRunOption, QueueOption
from testyard.cli.terminal import safe_text
from testyard.index import index_errors
from testyard.intake import audit
from testyard.intake.audit import Action
from testyard.settings import Settings


@explained
def requeue(
    pattern: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATTERN", help="Words of reason or body, or beginning of an id; * is all."),
    ] = None,
    queue: QueueOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Send dead letters back to their queues; the others stay, in their order."""
    if not pattern and not queue:
        raise UsageError("PATTERN: needed, or --queue", resolution="All are: '*'")
    settings = command_settings(state)
    url = settings.broker.url.get_secret_value()

    def chosen(letter: Letter) -> bool:
        text = f"{letter.reason}\n{letter.body.decode(errors='replace')}"
        fits = not pattern or any(
            one == "*" or one in text or letter.request_id.startswith(one) for one in pattern
        )
        return fits and queue in ("", letter.queue)

    found = requeue_letters(url, chosen, dry_run=True)
    if found and not dry_run:
        _list(found, as_json=json_, quiet=json_)
        confirm(len(found), "dead letter", yes=yes)
        numbers = {letter.key for letter in found}
        found = requeue_letters(url, lambda letter: letter.key in numbers, dry_run=False)
        _record(settings, found)
    _list(found, as_json=json_, quiet=bool(found) and not dry_run and not json_)
    if found and not dry_run and not json_:
        say(f"{len(found)} sent back.")


def _list(letters: Sequence[Letter], *, as_json: bool, quiet: bool) -> None:
    if quiet:
        return
    if as_json:
        fields = [{"queue": one.queue, "reason": one.reason, "request_id": one.request_id} for one in letters]
        print_json({"letters": fields})
        return
    if not letters:
        typer.echo("No dead letter fits.")
    for one in letters:
        typer.echo(f"{one.queue} {one.request_id}".rstrip())
        typer.echo(f"  {safe_text(one.reason)}")


def _record(settings: Settings, letters: Sequence[Letter]) -> None:
    if not has_database(settings):
        return
    with databases(settings) as (memory, _), index_errors(), memory.begin() as connection:
        for one in letters:
            audit.record(
                connection,
                Action.QUEUE,
                operator(),
                request_id=one.request_id or None,
                queue=one.queue,
                requeued=True,
            )
