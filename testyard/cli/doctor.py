# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard doctor``: does each part work here, and if not, how is it mended?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pika
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from testyard.adapters.amqp import broker_errors, connection_parameters
from testyard.adapters.swift import SwiftStore
from testyard.cli.edge import (
    FAILED,
    JsonOption,
    NoInstanceError,
    StateOption,
    command_settings,
    explained,
    print_json,
)
from testyard.cli.machine import Finding, examine_hosts, work_folder
from testyard.client import SiteClient
from testyard.errors import TestyardError
from testyard.index import open_index
from testyard.local import supervisor
from testyard.local.machine import unknown_releases
from testyard.local.state import TESTBED_USER, LocalState
from testyard.settings import Settings


@explained
def doctor(state: StateOption = None, json_: JsonOption = False) -> None:
    """Check each part of the system and this machine's fitness to run tests."""
    screen = Console(stderr=True)
    with screen.status("") as line:  # nothing where stderr is no terminal
        findings = list(_all(state, lambda name: line.update(f"{name} is asked …")))
    if json_:
        print_json({"healthy": not any(f.problem for f in findings), "checks": [asdict(f) for f in findings]})
    else:
        table = Table("check", "result", box=None, pad_edge=False)
        for finding in findings:
            words = Text(f"{finding.problem}\n→ {finding.mend}" if finding.problem else "well")
            table.add_row(finding.name, words, style="red" if finding.problem else "")
        Console().print(table)
    if any(finding.problem for finding in findings):
        raise typer.Exit(FAILED)


def _all(state: Path | None, on_ask: Callable[[str], None]) -> Iterator[Finding]:
    try:
        settings = command_settings(state)
    except NoInstanceError as error:  # the machine can be looked at all the same
        yield Finding("instance", error.brief, error.resolution)
        yield from examine_hosts(TESTYARD_WORKER__TESTBED_USER=TESTBED_USER)
        return
    yield from examine(settings, on_ask)


def examine(settings: Settings, on_ask: Callable[[str], None], *, patience: int = 5) -> Iterator[Finding]:
    """All checks, one after the other; ``on_ask`` hears what is asked before its answer comes.

    Each part gets ``patience`` seconds to answer.
    """
    instance = _instance()
    for name, action, keys in (
        ("broker", _broker, "broker.url"),
        ("store", _store, "store.*"),
        ("database", _index, "database.url"),
        ("site", _site, "site.url"),
    ):
        on_ask(name)
        mend = _mend(name, keys, local=instance is not None)
        yield _attempt(name, partial(action, settings, patience), mend)
    if instance is not None:
        on_ask("each part")
        yield from _local_parts(instance)
    on_ask("this machine")
    yield from examine_hosts()
    yield work_folder(settings.worker.work_dir)
    if instance is not None:
        yield _releases(settings)


def _instance() -> LocalState | None:
    """The local instance whose settings are in use."""
    config = os.environ.get("TESTYARD_CONFIG", "")
    return LocalState.load(Path(config).parent) if Path(config).name == "settings.toml" else None


def _mend(name: str, keys: str, *, local: bool) -> str:
    if not local:
        return f"is it running? see to {keys} in the settings"
    part = {"database": "index", "site": "web"}.get(name, name)
    return f"testyard local up; if it runs and is silent: testyard local restart {part}"


def _local_parts(instance: LocalState) -> Iterator[Finding]:
    """As `testyard local status` sees them."""
    for part in supervisor.status(instance):
        reason = "" if part.healthy else part.reason or "not healthy"
        mend = "testyard local up" if part.pid is None else f"testyard local restart {part.name}"
        yield Finding(f"part {part.name}", reason, f"{mend}; testyard local logs {part.name}")


def _releases(settings: Settings) -> Finding:
    names = unknown_releases(settings.topology.releases)
    if not names or settings.worker.testbed == "null":
        return Finding("releases")
    return Finding(
        "releases",
        f"apt on this machine knows no archive of {', '.join(names)}: no root tree can be made",
        "add it to the apt sources and run apt-get update, or take it out of topology.releases",
    )


def _attempt(name: str, action: Callable[[], None], mend: str) -> Finding:
    try:
        action()
    except TestyardError as error:
        return Finding(name, error.brief, mend if "no answer" in error.brief else error.resolution or mend)
    return Finding(name)


def _broker(settings: Settings, patience: int) -> None:
    parameters = connection_parameters(settings.broker.url.get_secret_value())
    parameters.stack_timeout = parameters.blocked_connection_timeout = patience
    with broker_errors("connect"):
        pika.BlockingConnection(parameters).close()


def _store(settings: Settings, patience: int) -> None:
    quick = settings.store.model_copy(update={"retries": 0})
    with SwiftStore(quick, timeout=patience) as store:
        store.containers(prefix="autopkgtest-")


def _index(settings: Settings, _patience: int) -> None:
    url = settings.database.url.get_secret_value()
    _sqlite_is_there(url)
    engine = open_index(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        raise TestyardError(f"index: cannot be opened: {type(error).__name__}") from error
    finally:
        engine.dispose()


def _sqlite_is_there(url: str) -> None:
    """SQLite would make the file. Raises TestyardError."""
    try:
        parts = make_url(url)
    except ArgumentError:
        return  # told by who opens it
    file = parts.database if parts.get_backend_name() == "sqlite" else None
    if file and not Path(file).exists():
        raise TestyardError(f"index: there is no file {file}", resolution="the index function makes it")


def _site(settings: Settings, patience: int) -> None:
    with SiteClient(settings.site.url, timeout=patience) as site:
        site.json("/health")
