# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether this machine can run tests: one finding for each host of its worker, and one for room."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testyard.errors import SettingsError

#: Bytes that a run may need in the work folder.
_ROOM = 2 * 1024**3
#: Seconds that the worker may take to look at all its hosts.
_LOOKING = 120


@dataclass(frozen=True)
class Finding:
    """One check: ``problem`` is empty if all is well."""

    name: str
    problem: str = ""
    mend: str = ""


def worker_command(*arguments: str) -> list[str]:
    """How a worker is started here. Raises SettingsError if it is not installed."""
    if importlib.util.find_spec("worker") is None:
        raise SettingsError(
            "The worker is not installed here.",
            resolution="Install it with scripts/setup worker, in a checkout of Testyard.",
        )
    return [sys.executable, "-P", "-m", "worker", *arguments]


def host_problems(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What ``python -m worker --check`` finds with this environment. Raises SettingsError."""
    command = worker_command("--check")
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=_LOOKING
        )
    except subprocess.CalledProcessError as error:
        raise SettingsError("The worker's settings are wrong.", details=error.stderr.strip()) from error
    except subprocess.TimeoutExpired as error:
        raise SettingsError(f"The worker's hosts did not answer within {_LOOKING} s.") from error
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def examine_hosts(**more: str) -> Iterator[Finding]:
    """What keeps each host of this machine's worker from running tests; ``more`` is environment."""
    try:
        hosts = host_problems({**os.environ, **more})
    except SettingsError as error:
        yield Finding("worker", "\n".join(filter(None, (error.brief, error.details))), error.resolution)
        return
    for host in hosts:
        name = f"host {host['host']} ({host['testbed']})"
        if not host["problems"]:
            yield Finding(name)
        for problem in host["problems"]:
            yield Finding(name, problem["what"], problem["mend"])


def work_folder(folder: Path) -> Finding:
    """Whether a run has room there."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _ROOM:
        return Finding("work folder", f"{free / 1e9:.1f} GB free", f"make room below {folder}: 2 GB a slot")
    return Finding("work folder")
