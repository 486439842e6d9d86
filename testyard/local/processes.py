# SPDX-License-Identifier: AGPL-3.0-or-later
"""The instance's processes as the kernel sees them: memory, and those that were left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import psutil

from testyard.local.state import LocalState

# every process of an instance inherits it: so those are found that no living parent knows
MARK = "TESTYARD_LOCAL_INSTANCE"


def tree(pid: int) -> list[psutil.Process]:
    """Process ``pid`` and everything below it; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def resident_bytes(pid: int) -> int:
    """Resident memory of a whole process tree, in bytes; shared pages count once per process."""
    total = 0
    for process in tree(pid):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    return total


def leftovers(state: LocalState) -> list[psutil.Process]:
    """Every living process of this instance, wherever its parent went."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.pid not in own and process.environ().get(MARK) == str(state.path):
                found |= {member.pid: member for member in tree(process.pid)}
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or belongs to somebody else
    return [process for process in found.values() if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """False for a zombie too: in a container nobody may ever collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(processes: Iterable[psutil.Process], *, seconds: float) -> None:
    """SIGTERM, up to ``seconds`` of patience, SIGKILL."""
    alive = [process for process in processes if is_alive(process)]
    for process in alive:
        _signal(process, kill=False)
    wait_gone(alive, seconds=seconds)
    for process in alive:
        if is_alive(process):
            _signal(process, kill=True)
    wait_gone(alive, seconds=5)


def wait_gone(processes: Iterable[psutil.Process], *, seconds: float) -> bool:
    """Wait until all have ended; False when some have not after ``seconds``."""
    waiting = [process for process in processes if is_alive(process)]
    give_up = time.monotonic() + seconds
    # not psutil.wait_procs: for it a zombie is alive
    while waiting and time.monotonic() < give_up:
        time.sleep(0.05)
        waiting = [process for process in waiting if is_alive(process)]
    return not waiting


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        return  # it ended meanwhile
