# SPDX-License-Identifier: AGPL-3.0-or-later
"""Starts, watches and ends a local instance: `up`, `status`, `down`.

supervisord keeps the parts; we talk to it over a unix socket that only its owner may open.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from testyard.errors import SettingsError, TestyardError
from testyard.local import keeper, processes
from testyard.local.files import write_private
from testyard.local.health import check_part
from testyard.local.keeper import PartInfo
from testyard.local.logs import tail
from testyard.local.parts import Part, all_parts
from testyard.local.ports import check_ports_free
from testyard.local.state import STORE_USER, LocalState
from testyard.local.supervisor_conf import render_supervisor
from testyard.local.swift_secrets import save_secrets

STAGE_SECONDS = 60.0  # that a stage gets to become healthy; RabbitMQ needs 5, on a busy machine 20
MOST_STARTS = 3  # a part that died so often while we wait will not come up
LOG_LINES = 15
LEFT_OVER = "processes without a keeper"  # what `down` calls those that supervisord did not know

Progress = Callable[[str, str], None]  # part, what happened


@dataclass(frozen=True)
class PartStatus:
    """One part now. ``rss_bytes`` is of its whole process tree, ``uptime`` in seconds."""

    name: str
    state: str  # supervisord's word: RUNNING, STARTING, BACKOFF, FATAL, STOPPED, …
    pid: int | None
    port: int | None
    rss_bytes: int
    healthy: bool
    reason: str  # why it is not healthy, else ""
    uptime: float


def up(
    state: LocalState, on_progress: Progress = lambda _part, _text: None, *, only: Collection[str] = ()
) -> tuple[PartStatus, ...]:
    """Start what does not run and wait until all of it is healthy; ``only`` names some parts.

    Raises SettingsError for a taken port, TestyardError with the log's last lines for a part that
    does not become healthy. What came up stays up.
    """
    chosen = [part for part in all_parts(state) if not only or part.name in only]
    with _alone(state):
        changed = _write_files(state)
        if changed and keeper.is_running(state):
            on_progress("supervisor", f"{changed} changed, everything is started anew")
            ran = {name for name, info in keeper.parts(state).items() if info.pid}
            _end(state)
            chosen = [part for part in all_parts(state) if part in chosen or part.name in ran]
        if not keeper.is_running(state):
            processes.end(processes.leftovers(state), seconds=20)
            check_ports_free(state.ports)
            keeper.start(state)
        for stage in sorted({part.stage for part in chosen}):
            _Stage(state, [part for part in chosen if part.stage == stage], on_progress).run()
    return status(state)


def restart(
    state: LocalState, on_progress: Progress = lambda _part, _text: None, *, only: Collection[str] = ()
) -> tuple[PartStatus, ...]:
    """End parts (all, or those in ``only``), also ones that hang, and start them as `up` does.

    Raises what `up` raises.
    """
    if not only:
        down(state)
        return up(state, on_progress)
    with _alone(state):
        if keeper.is_running(state):
            _stop(state, [part for part in all_parts(state) if part.name in only])
    return up(state, on_progress, only=only)


def down(state: LocalState) -> tuple[str, ...]:
    """End every process of the instance and wait for it; returns the names of what ran."""
    with _alone(state):
        infos = keeper.parts(state)
        ran = tuple(part.name for part in all_parts(state) if (info := infos.get(part.name)) and info.pid)
        if not ran and processes.leftovers(state):
            ran = (LEFT_OVER,)
        _end(state)
    return ran


def status(state: LocalState) -> tuple[PartStatus, ...]:
    """Every part, in the order of their start; the checks run side by side."""
    parts, infos = all_parts(state), keeper.parts(state)
    with ThreadPoolExecutor(len(parts)) as pool:
        return tuple(pool.map(lambda part: _status(state, part, infos.get(part.name)), parts))


def is_running(state: LocalState) -> bool:
    """Whether the instance's supervisord answers."""
    return keeper.is_running(state)


@dataclass
class _Stage:
    """Parts that start side by side."""

    state: LocalState
    parts: list[Part]
    on_progress: Progress
    starts: dict[str, set[int]] = field(default_factory=dict)

    def run(self) -> None:
        """Start those that do not run; return when all are healthy."""
        begin = time.monotonic()
        for part in self.parts:
            if keeper.start_part(self.state, part.name):
                self.on_progress(part.name, "starting")
        waiting = [part.name for part in self.parts]
        while waiting:
            waiting = self._still_waiting(waiting, time.monotonic() - begin)
            time.sleep(0.1 if waiting else 0)

    def _still_waiting(self, names: list[str], elapsed: float) -> list[str]:
        infos, left = keeper.parts(self.state), []
        for name in names:
            reason = _reason(self.state, name, infos.get(name))
            if not reason:
                self.on_progress(name, f"healthy after {elapsed:.1f} s")
                continue
            left.append(name)
            self._give_up(name, infos.get(name), reason, elapsed)
        return left

    def _give_up(self, name: str, info: PartInfo | None, reason: str, elapsed: float) -> None:
        starts = self.starts.setdefault(name, set())
        if info and info.started:
            starts.add(int(info.started))
        if info and info.state != "FATAL" and len(starts) <= MOST_STARTS and elapsed < STAGE_SECONDS:
            return
        lines = tail(self.state.log_dir / f"{name}.log", LOG_LINES)
        raise TestyardError(
            f"{name} does not start: {reason}.",
            details="\n".join(lines) or "It printed nothing.",
            resolution=f"Its whole log: testyard local logs {name}. What runs keeps running: "
            "try again with testyard local up, or end it with testyard local down.",
        )


def _write_files(state: LocalState) -> str:
    """Write what the parts read; tells what changed since their last start, "" if nothing did."""
    save_secrets(state.path / "swift", user=STORE_USER, key=state.secrets["store_key"])
    keys = state.changed_settings()
    settings_changed = state.write_settings()
    parts_changed = write_private(state.run_dir / "supervisord.conf", render_supervisor(state))
    if settings_changed and keys:
        return ", ".join(keys)
    return "the way parts are started" if settings_changed or parts_changed else ""


def _end(state: LocalState) -> None:
    members = processes.leftovers(state)
    if keeper.is_running(state):
        everything = all_parts(state)
        # side by side within a stage: supervisord's own shutdown takes 5 s, one part after the other
        for stage in sorted({part.stage for part in everything}, reverse=True):
            _stop(state, [part for part in everything if part.stage == stage])
        keeper.shut_down(state)
        processes.wait_gone(members, seconds=10)
    processes.end([*members, *processes.leftovers(state)], seconds=20)
    for name in ("supervisor.sock", "supervisord.pid"):
        (state.run_dir / name).unlink(missing_ok=True)


def _stop(state: LocalState, parts: list[Part]) -> None:
    for part in parts:
        keeper.stop_part(state, part.name)
    give_up = time.monotonic() + max(part.stop_seconds for part in parts) + 5
    names = {part.name for part in parts}
    while time.monotonic() < give_up:
        infos = keeper.parts(state)
        if not any(info.pid for name, info in infos.items() if name in names):
            return
        time.sleep(0.05)


def _status(state: LocalState, part: Part, info: PartInfo | None) -> PartStatus:
    reason = _reason(state, part.name, info)
    pid = info.pid if info else None
    return PartStatus(
        name=part.name,
        state=info.state if info else "STOPPED",
        pid=pid,
        port=part.port,
        rss_bytes=processes.resident_bytes(pid) if pid else 0,
        healthy=not reason,
        reason=reason,
        uptime=info.uptime if info else 0.0,
    )


def _reason(state: LocalState, name: str, info: PartInfo | None) -> str:
    if info is None or info.state == "STOPPED":
        return "not started"
    if not info.pid:
        return info.problem or info.state.lower()
    return check_part(state, name, started=info.started)


@contextmanager
def _alone(state: LocalState) -> Iterator[None]:
    """Only one `up` or `down` of an instance at a time. Raises SettingsError after 120 s of waiting."""
    with (state.run_dir / "lock").open("w") as lock:
        for _ in range(1200):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise SettingsError("Another `testyard local` command works on this folder.")
        yield
