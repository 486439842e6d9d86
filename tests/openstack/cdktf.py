# SPDX-License-Identifier: AGPL-3.0-or-later
"""cdktf's command line in the tests, with the stand-in in place of the official provider."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.openstack.provider.install import ROOT
from tests.openstack.terraform import terraform_environment, terraform_program

#: Where scripts/setup has put it.
PROGRAM = ROOT / "node_modules" / ".bin" / "cdktf"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: A deployment that takes longer than this is not one that somebody waits for.
LIMIT_SECONDS = 400.0


def cdktf_environment(rc: Path, **more: str) -> dict[str, str]:
    """The environment for it; terraform is the one that other tests take."""
    return terraform_environment(
        rc,
        TERRAFORM_BINARY_NAME=terraform_program(),
        CI="1",
        # else it leaves links to the stand-in where a real deployment would look for its provider
        CDKTF_DISABLE_PLUGIN_CACHE_ENV="1",
        PYTHONPATH=str(ROOT),
        **more,
    )


@dataclass(frozen=True)
class Ran:
    """What came of a command. ``output`` is without colours."""

    code: int
    output: str
    seconds: float

    def lines(self, word: str) -> list[str]:
        """Lines of the output with ``word`` in them."""
        return [line.strip() for line in self.output.splitlines() if word in line]


@dataclass(frozen=True)
class Cdktf:
    """cdktf in a folder of its own: ``cdktf.out`` and ``state`` come to be there."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> Ran:
        """Run it, whatever comes of it; what it has started ends with it."""
        begin = time.monotonic()
        process = subprocess.Popen(
            [str(PROGRAM), *arguments, "--app", f"{sys.executable} -m infra"],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Ran(process.returncode, _COLOURS.sub("", output), time.monotonic() - begin)

    def must(self, *arguments: str) -> Ran:
        """Run it; fails the test with its output unless it ends well."""
        ran = self.run(*arguments)
        assert ran.code == 0, f"cdktf {' '.join(arguments)}: {ran.code}\n{ran.output}"
        return ran

    def deploy(self, *stacks: str) -> Ran:
        """Deploy all, or those whose needs are there already, whatever comes of it."""
        # this option also forgets the order of the stacks that are named: not for all of them
        alone = ("--ignore-missing-stack-dependencies",) if stacks else ()
        return self.run("deploy", *(stacks or ("*",)), "--auto-approve", "--skip-provider-lock", *alone)

    def destroy(self) -> Ran:
        """Delete everything; fails the test with its output unless it ends well."""
        return self.must("destroy", "*", "--auto-approve", "--skip-provider-lock")
