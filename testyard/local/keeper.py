# SPDX-License-Identifier: AGPL-3.0-or-later
"""supervisord itself: started detached, asked and told by XML-RPC over its unix socket."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from testyard.errors import TestyardError
from testyard.local.logs import tail
from testyard.local.processes import MARK
from testyard.local.state import LocalState

START_SECONDS = 15.0  # until its socket answers; it takes 0.4
# settings in the caller's environment, of another instance perhaps, would win over settings.toml
FOREIGN = "TESTYARD_"
_NO_ANSWER = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)


@dataclass(frozen=True)
class PartInfo:
    """What supervisord knows of a part. ``started`` is Unix time, 0 when it never ran."""

    state: str
    pid: int | None
    started: float
    uptime: float  # seconds
    problem: str


def is_running(state: LocalState) -> bool:
    """Whether it answers."""
    try:
        with _connection(state) as server:
            return bool(server.supervisor.getState()["statecode"] == 1)  # 1 RUNNING, -1 SHUTDOWN
    except (*_NO_ANSWER, xmlrpc.client.Fault):
        return False


def start(state: LocalState) -> None:
    """Start it as a daemon in a session of its own.

    Raises TestyardError with what it printed when it does not answer soon.
    """
    # a socket that a reboot or SIGKILL left is no obstacle: nobody answered on it a moment ago
    (state.run_dir / "supervisor.sock").unlink(missing_ok=True)
    conf = state.run_dir / "supervisord.conf"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(conf)],
        env=_environment(state),
        cwd=state.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    give_up = time.monotonic() + START_SECONDS
    while done.returncode == 0 and time.monotonic() < give_up:
        if is_running(state):
            return
        time.sleep(0.05)
    lines = tail(state.log_dir / "supervisord.log", 15)
    raise TestyardError(
        "supervisord does not start.", details="\n".join([done.stdout, done.stderr, *lines]).strip()
    )


def start_part(state: LocalState, name: str) -> bool:
    """Start a part, without waiting; False when it runs already."""
    with _connection(state) as server:
        try:
            server.supervisor.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultString.startswith("ALREADY_STARTED"):
                return False
            raise TestyardError(f"supervisord cannot start {name}: {fault.faultString}") from fault
    return True


def stop_part(state: LocalState, name: str) -> None:
    """Stop a part, without waiting; nothing happens when it does not run."""
    try:
        with _connection(state) as server:
            server.supervisor.stopProcess(name, False)
    except (*_NO_ANSWER, xmlrpc.client.Fault):
        return  # whoever calls looks afterwards, and has stronger means


def parts(state: LocalState) -> dict[str, PartInfo]:
    """What it knows of each part; empty when it does not answer."""
    try:
        with _connection(state) as server:
            return {str(info["name"]): _info(info) for info in server.supervisor.getAllProcessInfo()}
    except (*_NO_ANSWER, xmlrpc.client.Fault):
        return {}


def shut_down(state: LocalState) -> bool:
    """Tell it to stop all parts, last started first, and then itself; False when it did not answer."""
    try:
        with _connection(state) as server:
            return bool(server.supervisor.shutdown())
    except (*_NO_ANSWER, xmlrpc.client.Fault):
        return False


def _info(info: dict[str, Any]) -> PartInfo:
    pid = int(info["pid"]) or None
    return PartInfo(
        state=str(info["statename"]),
        pid=pid,
        started=float(info["start"]),
        uptime=float(info["now"] - info["start"]) if pid else 0.0,
        problem=str(info["spawnerr"]),
    )


def _environment(state: LocalState) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",  # a log line is there when it is printed
        "TESTYARD_CONFIG": str(state.settings_file),
        MARK: str(state.path),
    }


@contextmanager
def _connection(state: LocalState) -> Iterator[Any]:
    transport = SupervisorTransport(None, None, f"unix://{state.run_dir}/supervisor.sock")
    try:
        # the address is never used, the transport goes to the socket
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    finally:
        transport.close()
