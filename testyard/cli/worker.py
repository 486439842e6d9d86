# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard worker``: start a worker here, and look after workers anywhere."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from testyard import control, fields
from testyard.adapters.swift import SwiftStore
from testyard.cli.edge import (
    FAILED,
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    command_store,
    console,
    explained,
    print_json,
    say,
)
from testyard.cli.machine import host_problems, worker_command
from testyard.control import ALL_HOSTS, HostReport, WorkerReport
from testyard.duration import age_text
from testyard.errors import SettingsError
from testyard.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Start a worker on this machine, and look after workers anywhere.\n\n"
    "A worker takes requests from the broker, runs them on its hosts and stores their results. Any machine "
    "that reaches broker and store can have one; docs/external-worker.md shows its settings file.",
)

#: Seconds that a worker may take to carry out an order: it looks each 5 s.
_PATIENCE = 20.0

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file.", show_default="TESTYARD_CONFIG"),
]
WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, as `list` shows it.")]
HostArgument = Annotated[
    str,
    typer.Argument(metavar="HOST", help="One of its hosts; all without this.", show_default=False),
]


@app.command()
@explained
def run(config: ConfigOption = None, state: StateOption = None) -> None:
    """Start a worker here, in the foreground.

    SIGTERM, or `systemctl stop`: it finishes its tests and leaves; a second one: it gives them back to
    their queues at once. Ctrl-C gives them back too.
    """
    environment = _environment(config, state)
    os.execve(sys.executable, worker_command(), environment)  # noqa: S606  its own process, for signals and systemd


@app.command()
@explained
def check(config: ConfigOption = None, state: StateOption = None, json_: JsonOption = False) -> None:
    """Say what keeps the hosts of this machine's worker from running tests, and how it is mended."""
    found = host_problems(_environment(config, state))
    if json_:
        print_json({"hosts": found})
    else:
        for host in found:
            typer.echo(f"{host['host']} ({host['testbed']}, slots: {host['slots']}): ", nl=False)
            typer.echo("well" if not host["problems"] else "")
            for problem in host["problems"]:
                typer.echo(f"  {problem['what']}\n    {problem['mend']}")
    if any(host["problems"] for host in found):
        raise typer.Exit(FAILED)


@app.command("list")
@explained
def list_(state: StateOption = None, json_: JsonOption = False) -> None:
    """Show all workers with their hosts: slots in use, and what is drained and why."""
    with command_store(command_settings(state)) as store:
        found = control.workers(store)
    if json_:
        print_json({"workers": [{**asdict(worker), "gone": worker.gone} for worker in found]})
        return
    if not found:
        say("No worker has said anything for a week.")
        return
    table = Table("worker", "host", "testbed", "busy", "state", box=None, pad_edge=False)
    for worker in found:
        for number, host in enumerate(worker.hosts):
            name = escape(worker.name) if not number else ""
            busy = f"{host.busy} of {host.slots}"
            table.add_row(name, escape(host.name), host.testbed, busy, _state(worker, host))
    console().print(table)
    for worker in found:
        if worker.problem and not worker.gone and not worker.leaving:
            say(f"{worker.name} goes on with its old settings: {worker.problem}", style="red")
            say(f"When they are right: testyard worker reload {worker.name}")


@app.command()
@explained
def drain(
    worker: WorkerArgument,
    host: HostArgument = ALL_HOSTS,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="One line that is shown with it.")
    ] = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Let no run begin on a host; what runs goes on. It holds until `resume`, over restarts too."""
    why = fields.line("--reason", reason) or f"by {getpass.getuser()}"
    with command_store(command_settings(state)) as store:
        _known(store, worker, host)
        control.drain(store, worker, host, why)
        done = _wait(store, worker, lambda said: all(one.drained for one in _of(said, host)))
    running = sum(one.busy for one in _of(done, host))
    rest = f"{running} of its runs go on" if running else "nothing runs there"
    _tell(done, json_, f"{_words(worker, host)} drained; {rest}.")


@app.command()
@explained
def resume(
    worker: WorkerArgument,
    host: HostArgument = ALL_HOSTS,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Let runs begin again on a host that was drained, by people or by the worker itself."""
    with command_store(command_settings(state)) as store:
        control.resume(store, _known(store, worker, host), host)
        done = _wait(store, worker, lambda said: not any(one.drained for one in _of(said, host)))
    _tell(done, json_, f"{_words(worker, host)} in use.")


@app.command()
@explained
def reload(worker: WorkerArgument, state: StateOption = None, json_: JsonOption = False) -> None:
    """Have a worker read its settings, hosts and rules again; what runs goes on as it began."""
    with command_store(command_settings(state)) as store:
        _known(store, worker, ALL_HOSTS)
        token = control.reload(store, worker)
        done = _wait(store, worker, lambda said: said.reload == token)
    if done.problem:
        raise SettingsError(f"Worker {worker} goes on with its old settings.", details=done.problem)
    _tell(done, json_, f"Worker {worker} has read its settings again.")


def _environment(config: Path | None, state: Path | None) -> dict[str, str]:
    if config is not None and not config.is_file():
        raise UsageError(f"--config: no file {config}")
    if config is not None:
        os.environ["TESTYARD_CONFIG"] = str(config.resolve())
        load_settings()  # a local instance that the environment names is not meant
    else:
        command_settings(state)  # tells what is wrong before anything starts
    return dict(os.environ)


def _tell(said: WorkerReport, json_: bool, text: str) -> None:
    if json_:
        print_json(asdict(said))
    else:
        typer.echo(text)


def _known(store: SwiftStore, worker: str, host: str) -> WorkerReport:
    """Raises UsageError."""
    found = {said.name: said for said in control.workers(store)}
    if worker not in found:
        names = ", ".join(found) or "there is none"
        raise UsageError(f"No worker is named {worker}.", resolution=f"Known: {names}.")
    if not _of(found[worker], host):
        names = ", ".join(one.name for one in found[worker].hosts)
        raise UsageError(f"Worker {worker} has no host {host}.", resolution=f"Its hosts: {names}.")
    return found[worker]


def _of(said: WorkerReport, host: str) -> list[HostReport]:
    return [one for one in said.hosts if host in (one.name, ALL_HOSTS)]


def _wait(store: SwiftStore, worker: str, done: Callable[[WorkerReport], bool]) -> WorkerReport:
    """The report that says that an order was carried out. Raises SettingsError if none comes."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        said = _known(store, worker, ALL_HOSTS)
        if done(said):
            return said
        time.sleep(0.5)
    raise SettingsError(
        f"Worker {worker} has not answered; the order stands, and it will find it.",
        resolution="Is it running? testyard worker list shows when it said something last.",
    )


def _state(worker: WorkerReport, host: HostReport) -> Text:
    if worker.leaving and not any(one.busy for one in worker.hosts):
        return Text(f"has left, {age_text(worker.said, time.time())}", style="bright_black")
    if worker.gone:
        return Text(f"silent; last heard {age_text(worker.said, time.time())}", style="red")
    if worker.leaving:
        return Text("leaves when its runs have ended", style="yellow")
    return Text(f"drained: {host.drained}", style="yellow") if host.drained else Text("in use", style="green")


def _words(worker: str, host: str) -> str:
    return f"All hosts of {worker} are" if host == ALL_HOSTS else f"Host {host} of {worker} is"
