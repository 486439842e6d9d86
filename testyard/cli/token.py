# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard token``: who may use the API without logging in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from testyard.cli.asking import operator
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
from testyard.index import index_errors
from testyard.intake import Scope, audit, create_intake, intake_engine, tokens
from testyard.intake.audit import Action
from testyard.intake.tokens import Token
from testyard.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API tokens.")

_DAY = 86400.0


@app.command("make")
@explained
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as 'release bot'.")],
    owner: Annotated[
        str,
        typer.Option(
            "--owner", metavar="PROVIDER/NAME", help="Whose it is.", show_default="operator/ and your account"
        ),
    ] = "",
    scope: Annotated[list[Scope] | None, typer.Option("--scope", help="What it may be used for.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="PROVIDER/GROUP", help="A group that its owner is in."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=0, help="Days that it lasts; 0: until revoked.")] = 365,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a token and print it: it cannot be shown again."""
    whose = owner or operator().owner
    scopes = tuple(scope or (Scope.REQUEST,))
    expires = time.time() + days * _DAY if days else None
    with _memory(command_settings(state)) as memory:
        try:
            token_id, text = tokens.make(
                memory, owner=whose, name=name, groups=group or (), scopes=scopes, expires=expires
            )
        except RequestError as error:
            raise UsageError(error.brief) from error
        audit.record(
            memory, Action.TOKEN_MADE, operator(), id=token_id, name=name, owner=whose, scopes=sorted(scopes)
        )
    if json_:
        print_json({"id": token_id, "token": text, "owner": whose, "expires": expires})
        return
    typer.echo(text)
    until = f"for {days} days" if days else "until it is revoked"
    say(f"Token {token_id} of {safe_text(whose)} opens the API {until}. It is not shown again.")


@app.command("list")
@explained
def list_(
    owner: Annotated[str, typer.Option("--owner", metavar="PROVIDER/NAME", help="Only this owner's.")] = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """List tokens, the newest first; the secrets are not known here."""
    with _memory(command_settings(state)) as memory:
        found = tokens.tokens_of(memory, owner or None)
    if json_:
        print_json({"tokens": [_json(token) for token in found]})
        return
    if not found:
        typer.echo("No tokens.")
        return
    now = time.time()
    table = Table("id", "name", "owner", "may", "used", "state", box=None, pad_edge=False)
    for token in found:
        used = f"{age_text(token.used, now)}" if token.used else "never"
        words = [token.id, token.name, token.owner, " ".join(sorted(token.scopes)), used, _state(token, now)]
        table.add_row(*(Text(safe_text(word)) for word in words))
    console().print(table)


@app.command("revoke")
@explained
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id: what stands after ty_.")],
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """End a token at once."""
    parts = token_id.removeprefix("ty_").split("_")
    with _memory(command_settings(state)) as memory:
        found = tokens.revoke(memory, parts[0])
        if found is None:
            raise UsageError(
                f"{safe_text(parts[0])}: no token that could be revoked has this id.",
                resolution="testyard token list shows them.",
            )
        audit.record(
            memory, Action.TOKEN_REVOKED, operator(), id=found.id, name=found.name, owner=found.owner
        )
    if json_:
        print_json(_json(found))
    else:
        typer.echo(f"{found.id} ({safe_text(found.name)}, of {safe_text(found.owner)}) is revoked.")


@contextmanager
def _memory(settings: Settings) -> Iterator[Connection]:
    engine = intake_engine(settings)
    try:
        create_intake(engine)
        with index_errors(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _state(token: Token, now: float) -> str:
    if token.revoked is not None:
        return "revoked"
    if token.expires is None:
        return "lasts"
    if token.expires <= now:
        return "expired"
    return f"{max(1, round((token.expires - now) / _DAY))} days left"


def _json(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "owner": token.owner,
        "groups": list(token.groups),
        "scopes": sorted(token.scopes),
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
        "used": token.used,
    }
