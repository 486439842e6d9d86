# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door to other programs: argument lists only, no shell."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from testyard.errors import TestbedError

#: What programs see of our environment: nothing but this. Settings and secrets stay here.
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
}


def run(
    argv: Sequence[str],
    *,
    timeout: float = 600,
    environment: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
) -> str:
    """Run a program to its end and give its output. ``timeout`` is in seconds.

    Raises TestbedError with the command and the end of its output if it cannot start, fails or
    takes too long.
    """
    line = shlex.join(argv)
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env={**CLEAN_ENVIRONMENT, **(environment or {})},
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise TestbedError(
            f"{argv[0]}: no such program", resolution="Run `testyard doctor` to see what is missing."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TestbedError(f"{argv[0]}: not done after {timeout:.0f} s", details=line) from error
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        tail = "\n".join(output.splitlines()[-15:])
        raise TestbedError(f"{argv[0]}: exit status {done.returncode}", details=f"$ {line}\n{tail}")
    return output
