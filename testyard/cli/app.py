# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard``: the command line's entry.

Exit codes: 0 done, 1 an error that is explained on stderr, 2 wrong usage, 3 the local instance is
not running, 4 a followed run did not pass, 130 Ctrl-C while following.
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

import testyard
from testyard.cli import (
    audit,
    broker,
    cancelling,
    doctor,
    followed,
    hooking,
    infra,
    local,
    queue,
    reproduce,
    results,
    retrying,
    submit,
    token,
    worker,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Request package tests, follow them, and read their results.",
    epilog="Exit codes: 0 done, 1 error, 2 usage, 3 local instance not running, "
    "4 followed run did not pass, 130 interrupted.",
)
app.add_typer(local.app, name="local")
app.add_typer(broker.app, name="broker")
app.add_typer(queue.app, name="queue")
app.add_typer(worker.app, name="worker")
app.add_typer(token.app, name="token")
app.command("request")(submit.request)
app.command("retry")(retrying.retry)
app.command("retry-hook")(hooking.retry_hook)
app.command("follow")(followed.follow)
app.command("results")(results.results)
app.command("show")(results.show)
app.command("log")(results.log)
app.command("reproduce")(reproduce.reproduce)
app.command("cancel")(cancelling.cancel)
app.command("audit")(audit.audit)
app.command("doctor")(doctor.doctor)
app.command(
    "infra",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(infra.infra)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"testyard {testyard.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options before the command."""


def main() -> None:
    """Run the command line."""
    # its failures reach people as errors, in words; without a handler Python would print them too
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    app()
