# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard retry-hook``: what a pull request's hook would ask for, asked for now."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from sqlalchemy import Engine, select

from testyard.adapters.amqp import HOOKS_QUEUE, Publisher, connect, queue_length
from testyard.adapters.forges import forge_for
from testyard.cli.asking import databases, operator
from testyard.cli.edge import (
    FAILED,
    JsonOption,
    StateOption,
    command_settings,
    explained,
    print_json,
    say,
)
from testyard.cli.terminal import safe_text
from testyard.errors import BrokerError
from testyard.index import index_errors
from testyard.intake.delivery import Delivery
from testyard.intake.projects import Projects
from testyard.intake.redelivery import PullRequest, delivery_of, find_pull_request, head_of
from testyard.intake.schema import delivery as remembered
from testyard.intake.statuses import Shown, Status, of_commit
from testyard.settings import Settings

_LOOK = 0.3


@explained
def retry_hook(
    address: Annotated[str, typer.Argument(metavar="PR-ADDRESS", help="Address of its page on the forge.")],
    query: Annotated[
        str,
        typer.Option(
            metavar="KEY=VALUE&…", help="What stands behind the ? in the hook's address, if anything."
        ),
    ] = "",
    wait: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, max=3600, help="How long to wait for the requests' ids.")
    ] = 30,
    json_: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Ask for the tests of a pull request as its hook would: its last commit, a new delivery.

    Exits with 1 if nothing is to be tested by it, or not yet.
    """
    settings = command_settings(state)
    asked = find_pull_request(Projects.load(settings), address)
    told = forge_for(asked.project).pull_request(asked.path, asked.number)
    commit = head_of(asked, told)
    made = delivery_of(asked, told, query=query.removeprefix("?"), operator=operator().owner)
    with databases(settings) as (memory, _index):
        before = {row.context: row.request_id for row in _shown(memory, asked, commit)}
        _send(settings, made)
        outcome = _outcome(memory, made, wait)
        rows = [
            row
            for row in _shown(memory, asked, commit)
            if before.get(row.context) != row.request_id or not row.wanted.final
        ]
    if json_:
        print_json(_as_json(asked, commit, outcome, rows))
    else:
        for row in rows:
            typer.echo(f"{row.request_id}  {safe_text(row.context)}  {row.wanted}")
        say(_words(outcome, wait))
    if outcome is None or not rows or any(row.wanted is Shown.REJECTED for row in rows):
        raise typer.Exit(FAILED)


def _send(settings: Settings, made: Delivery) -> None:
    url = settings.broker.url.get_secret_value()
    with connect(url) as connection:
        there = queue_length(connection, HOOKS_QUEUE)
    if there is None:  # the broker would drop it without a word
        raise BrokerError(
            f"broker: there is no queue {HOOKS_QUEUE}; nothing was sent",
            resolution="Run `testyard broker setup`.",
        )
    with Publisher(url) as publisher:
        publisher.publish("", HOOKS_QUEUE, made.to_bytes())


def _outcome(memory: Engine, made: Delivery, wait: int) -> str | None:
    """What the forge function made of it; None if it has not in time."""
    query = select(remembered.c.outcome).where(remembered.c.forge == made.forge, remembered.c.id == made.key)
    give_up = time.monotonic() + wait
    while True:
        with index_errors(), memory.connect() as connection:
            found = connection.execute(query).first()
        if found is not None:
            return str(found.outcome)
        if time.monotonic() > give_up:
            return None
        time.sleep(_LOOK)


def _shown(memory: Engine, asked: PullRequest, commit: str) -> tuple[Status, ...]:
    with index_errors(), memory.connect() as connection:
        return of_commit(connection, asked.project.forge, asked.path, commit)


def _words(outcome: str | None, wait: int) -> str:
    if outcome is None:
        return (
            f"It waits for the forge function, which has not worked on it for {wait} s. "
            "If that runs: `testyard queue --dead` and `testyard audit` show what it could not do."
        )
    return f"Worked on: {safe_text(outcome)}."


def _as_json(asked: PullRequest, commit: str, outcome: str | None, rows: list[Status]) -> dict[str, Any]:
    return {
        "forge": asked.project.forge,
        "project": asked.path,
        "number": asked.number,
        "commit": commit,
        "outcome": outcome,
        "requests": [
            {"request_id": row.request_id, "context": row.context, "state": str(row.wanted)} for row in rows
        ],
    }
