# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stacks of a stage, written anew and handed to terraform one after the other.

What ``cdktf deploy`` does, without its command line: terraform alone, whose plans are looked at before they
are carried out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from testyard.errors import TestyardError

#: Where cdktf writes by itself; a local state is kept beside it.
OUT = Path("cdktf.out")
#: What terraform calls what it does → ours.
_DEEDS = {
    ("create",): "create",
    ("update",): "change",
    ("delete",): "delete",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
}
_QUIET = ("-input=false", "-no-color")
_LAST_LINES = 40


@dataclass(frozen=True)
class Change:
    """What would be done to a resource: create, change, replace or delete."""

    deed: str
    address: str


@dataclass(frozen=True)
class Stack:
    """One stack's folder, for terraform."""

    name: str
    folder: Path

    def init(self) -> None:
        """Fetch providers, find the state. Raises TestyardError."""
        self._run("init", "-reconfigure", *_QUIET)

    def plan(self) -> tuple[Change, ...]:
        """What is to be done; kept for `apply`. Raises TestyardError."""
        self._run("plan", "-out=plan", *_QUIET)
        shown = json.loads(self._run("show", "-json", "plan"))
        changes = []
        for one in shown.get("resource_changes", ()):
            deed = _DEEDS.get(tuple(one["change"]["actions"]))
            if deed:
                changes.append(Change(deed, one["address"]))
        return tuple(changes)

    def apply(self) -> None:
        """Carry out the plan, and nothing else. Raises TestyardError."""
        self._run("apply", "-auto-approve", *_QUIET, "plan")

    def destroy(self) -> None:
        """Delete all of it. Raises TestyardError."""
        self._run("destroy", "-auto-approve", *_QUIET)

    def resources(self) -> tuple[str, ...]:
        """Addresses of what there is; none without a state. Raises TestyardError."""
        found = self._terraform("state", "list")
        if found.returncode and "No state file" in found.stderr:
            return ()
        lines = self._checked("state list", found).split()
        return tuple(line for line in lines if not line.startswith("data."))

    def outputs(self) -> dict[str, object]:
        """What it tells, without what is secret. Raises TestyardError."""
        found = json.loads(self._run("output", "-json"))
        return {name: one["value"] for name, one in found.items() if not one["sensitive"]}

    def _run(self, *arguments: str) -> str:
        return self._checked(arguments[0], self._terraform(*arguments))

    def _checked(self, what: str, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise TestyardError(
                f"{self.name}: terraform {what} failed",
                details="\n".join(said[-_LAST_LINES:]),
                resolution="Mend what it says and run the same again: what is there already stays.",
            )
        return done.stdout

    def _terraform(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [terraform(), f"-chdir={self.folder}", *arguments],
            env={**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def terraform() -> str:
    """The program: ``TESTYARD_TERRAFORM``, or of PATH. Raises TestyardError."""
    found = os.environ.get("TESTYARD_TERRAFORM") or shutil.which("terraform")
    if not found:
        raise TestyardError(
            "terraform: no such program",
            resolution="Install terraform 1.10 or newer, or name it in TESTYARD_TERRAFORM.",
        )
    return found


def synthesise(stage: str) -> None:
    """Write the stacks of a stage into `OUT`, below the folder in which we are. Raises TestyardError."""
    done = subprocess.run(
        [sys.executable, "-m", "infra", "--stage", stage], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise TestyardError(done.stderr.strip() or "the stacks could not be written")


def stacks(only: Sequence[str] = ()) -> tuple[Stack, ...]:
    """Those that were written, each after those that it needs. Raises TestyardError if one is not there."""
    found = json.loads((OUT / "manifest.json").read_text(encoding="utf-8"))["stacks"]
    order = TopologicalSorter({name: one["dependencies"] for name, one in found.items()}).static_order()
    names = tuple(order)
    if unknown := sorted(set(only) - set(names)):
        raise TestyardError(f"--stack: there is no {unknown[0]}; there are {', '.join(names)}")
    return tuple(
        Stack(name, OUT / found[name]["workingDirectory"]) for name in names if not only or name in only
    )


def in_short(changes: Sequence[Change]) -> str:
    """``3 to create, 1 to replace``; or that there is nothing to do."""
    counted = Counter(change.deed for change in changes)
    words = [
        f"{counted[deed]} to {deed}" for deed in ("create", "change", "replace", "delete") if counted[deed]
    ]
    return ", ".join(words) or "as it is to be"
