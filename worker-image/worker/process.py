# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door to other programs: argument lists only, no shell."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from testyard.errors import CancelledRun, TestbedError

#: What programs see of our environment: nothing but this. Settings and secrets stay here.
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
}


#: Seconds between two looks at whether the program is still wanted.
_LOOK = 0.2


def run(
    argv: Sequence[str],
    *,
    timeout: float = 600,
    environment: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
    cancelled: Callable[[], bool] = lambda: False,
    codes: Sequence[int] = (0,),
    stdin: IO[Any] | None = None,
) -> str:
    """Run a program to its end and give its output. ``timeout`` is in seconds; ``stdin`` is read by it.

    Raises TestbedError with the command and the end of its output if it cannot start, ends with
    none of ``codes`` or takes too long; CancelledRun soon after ``cancelled`` says true. In both
    cases it is killed.
    """
    line = shlex.join(argv)
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**CLEAN_ENVIRONMENT, **(environment or {})},
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise TestbedError(
            f"{argv[0]}: no such program", resolution="Run `testyard doctor` to see what is missing."
        ) from error
    try:
        output = _output(child, time.monotonic() + timeout, cancelled).decode(errors="replace")
    finally:
        child.kill()  # nothing if it has ended
        child.communicate()
    tail = "\n".join(output.splitlines()[-15:])
    if child.returncode < 0 and not tail:
        tail = f"killed by signal {-child.returncode}"
    if child.returncode not in codes:
        raise TestbedError(f"{argv[0]}: exit status {child.returncode}", details=f"$ {line}\n{tail}")
    return output


def _output(child: subprocess.Popen[bytes], deadline: float, cancelled: Callable[[], bool]) -> bytes:
    while True:
        try:
            return child.communicate(timeout=_LOOK)[0]
        except subprocess.TimeoutExpired as error:
            if cancelled():
                raise CancelledRun("the worker was told to stop") from error
            if time.monotonic() > deadline:
                line = shlex.join(str(word) for word in error.cmd)
                raise TestbedError(
                    f"{error.cmd[0]}: not done in time, killed", details=f"$ {line}"
                ) from error
