# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard doctor``: does each part work here, and if not, how is it mended?"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pika
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from testyard.adapters.amqp import broker_errors, connection_parameters
from testyard.adapters.swift import SwiftStore
from testyard.cli.edge import FAILED, JsonOption, StateOption, command_settings, explained, print_json
from testyard.client import SiteClient
from testyard.errors import TestyardError
from testyard.index import open_index
from testyard.local import supervisor
from testyard.local.state import LocalState
from testyard.settings import Settings

#: Program → Debian package that brings it.
_PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "pasta": "passt",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
#: Bytes that a run may need in the work folder.
_ROOM = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One check: ``problem`` is empty if all is well."""

    name: str
    problem: str = ""
    mend: str = ""


@explained
def doctor(state: StateOption = None, json_: JsonOption = False) -> None:
    """Check each part of the system and this machine's fitness to run tests."""
    findings = list(examine(command_settings(state)))
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


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks, one after the other."""
    up = "testyard local up, or see to broker.url, store.* and site.url"
    yield _attempt("broker", lambda: _broker(settings), up)
    yield _attempt("store", lambda: _store(settings), up)
    yield _attempt("database", lambda: _index(settings), "see to database.url")
    yield _attempt("site", lambda: _site(settings), up)
    yield from _local_parts()
    yield from (_program(name, package) for name, package in _PROGRAMS.items())
    yield _user_namespaces()
    yield _tun_device()
    yield _work_folder(settings.worker.work_dir)


def _local_parts() -> Iterator[Finding]:
    """The parts of the local instance whose settings are in use, as `testyard local status` sees them."""
    config = os.environ.get("TESTYARD_CONFIG", "")
    instance = LocalState.load(Path(config).parent) if Path(config).name == "settings.toml" else None
    if instance is None:
        return
    for part in supervisor.status(instance):
        reason = "" if part.healthy else part.reason or "not healthy"
        yield Finding(f"part {part.name}", reason, f"testyard local up; testyard local logs {part.name}")


def _attempt(name: str, action: Callable[[], None], mend: str) -> Finding:
    try:
        action()
    except TestyardError as error:
        return Finding(name, error.brief, error.resolution or mend)
    return Finding(name)


def _broker(settings: Settings) -> None:
    with broker_errors("connect"):
        pika.BlockingConnection(connection_parameters(settings.broker.url.get_secret_value())).close()


def _store(settings: Settings) -> None:
    quick = settings.store.model_copy(update={"retries": 0})
    with SwiftStore(quick) as store:
        store.containers(prefix="autopkgtest-")


def _index(settings: Settings) -> None:
    engine = open_index(settings.database.url.get_secret_value())
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        raise TestyardError(f"index: cannot be opened: {type(error).__name__}") from error
    finally:
        engine.dispose()


def _site(settings: Settings) -> None:
    with SiteClient(settings.site.url) as site:
        site.json("/health")


def _program(name: str, package: str) -> Finding:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    if shutil.which(name, path=path):
        return Finding(name)
    return Finding(name, "not installed", f"apt-get install {package}")


def _user_namespaces() -> Finding:
    command = ["unshare", "--user", "--map-root-user", "--net", "true"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("user namespaces", str(error), "apt-get install util-linux")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        return Finding("user namespaces", said, "allow them: sysctl kernel.unprivileged_userns_clone=1")
    return Finding("user namespaces")


def _tun_device() -> Finding:
    device = Path("/dev/net/tun")
    if not device.exists():
        return Finding("/dev/net/tun", "not there", "modprobe tun")
    if os.geteuid() != 0 and not os.access(device, os.R_OK | os.W_OK):
        return Finding("/dev/net/tun", "not open to this account", "as root: chmod 0666 /dev/net/tun")
    return Finding("/dev/net/tun")


def _work_folder(folder: Path) -> Finding:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _ROOM:
        return Finding("work folder", f"{free / 1e9:.1f} GB free", f"make room below {folder}: 2 GB a slot")
    return Finding("work folder")
