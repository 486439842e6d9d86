# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs autopkgtest inside namespaces of its own: what the testbeds that need no other machine share."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from testyard.errors import CancelledRun, TestbedError
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.account import Account
from worker.testbed.base import (
    ENTER,
    PYTHON,
    Command,
    Helper,
    PlainProcess,
    Workspace,
    output_pipe,
    source_arguments,
)
from worker.testbed.network import attach_network, own_addresses
from worker.testbed.resolver import machine_resolver

#: Seconds until the namespaces must be made, and between two looks at whether that is still wanted.
#: Seen: 0.1, and 2 on a machine with ten times more to do than processors.
_LIMIT = 60.0
_LOOK = 0.2

#: A user namespace whose root is the account and whose other users are its sub-ids, with more of its
#: own; when unshare dies, the first process inside is killed, and with it all others.
NAMESPACES = (
    "unshare",
    "--user",
    "--map-auto",
    "--map-root-user",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
)


@dataclass(frozen=True)
class Inside:
    """What happens inside, and what is there.

    ``stage`` is enter.py's; ``tree`` is its /tree, ``sources`` its /sources; it may have so many
    ``processes``, autopkgtest some more. The stage ``client`` has
    this machine's network: for what runs no code of a test's.
    """

    command: Sequence[str]
    stage: Literal["sandbox", "chroot", "kvm", "client"] = "sandbox"
    tree: Path | None = None
    sources: Path | None = None
    processes: int = 1000

    @property
    def network(self) -> bool:
        """True if the run has a network of its own."""
        return self.stage != "client"


def autopkgtest(command: Command, sources: Path | None, *runner: str) -> tuple[str, ...]:
    """autopkgtest's command line as it is right inside; ``sources`` from `local_sources`."""
    local = Path("/sources") / command.package if sources else None
    return (
        "autopkgtest",
        "--output-dir=/work/out",
        *command.options,
        *source_arguments(command, local),
        "--",
        *runner,
    )


def local_sources(source_dir: Path | None, command: Command) -> Path | None:
    """The folder of source packages, if the package is to be tested from there."""
    known = source_dir is not None and not command.git_source and (source_dir / command.package).is_dir()
    return source_dir if known else None


def make_box(account: Account, workspace: Workspace) -> Path:
    """The folder that is /work inside, and /tmp in it; both are the account's."""
    box = workspace.out.parent
    (box / "tmp").mkdir(parents=True)
    for path in (box, *box.rglob("*")):  # nothing of a test is in it yet
        account.give(path)
    return box


def start_inside(
    account: Account,
    box: Path,
    inside: Inside,
    cancelled: Callable[[], bool],
    helpers: Sequence[Helper] = (),
) -> PlainProcess:
    """Start it. Raises TestbedError; CancelledRun soon after ``cancelled`` says true.

    The helpers end with the run, also with one that does not start.
    """
    reader, writer = output_pipe((account.uid, account.gid) if account.switch else None)
    child = None
    try:
        try:
            child = subprocess.Popen(
                _argv(account, box, inside),
                stdin=subprocess.PIPE,
                stdout=writer,
                stderr=writer,
                env=CLEAN_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(writer)
        _wait_ready(reader, cancelled)
        connected = _let_go(account, child, inside)
    except BaseException:
        if child:
            child.kill()
            child.wait()
        for helper in helpers:
            helper.end()
        os.close(reader)
        raise
    return PlainProcess(child, reader, (*connected, *helpers))


def _let_go(account: Account, child: subprocess.Popen[bytes], inside: Inside) -> tuple[Helper, ...]:
    """Connect the sandbox, and let it go on; returns the network's process."""
    assert child.stdin
    order: dict[str, Any] = {"processes": inside.processes, "own_addresses": None}
    helpers: tuple[Helper, ...] = ()
    if inside.network:
        addresses = own_addresses()
        resolver = machine_resolver(addresses)
        order |= {"own_addresses": addresses, "files": {"resolv.conf": resolver.text}}
        helpers = (attach_network(account, _only_child(child.pid), resolver),)
    else:
        order["files"] = {name: _text(Path("/etc") / name) for name in ("resolv.conf", "hosts")}
    try:
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.close()
    except OSError:
        for helper in helpers:
            helper.end()
        raise
    return helpers


def _argv(account: Account, box: Path, inside: Inside) -> list[str]:
    paths = [str(path) if path else "" for path in (box, inside.tree, inside.sources)]
    command = [word.replace(f"--copy={box}/", "--copy=/work/") for word in inside.command]
    enter = (*PYTHON, str(ENTER))
    namespaces = (*NAMESPACES, *(("--net",) if inside.network else ()))
    if not account.switch:
        return account.argv(*namespaces, *enter, inside.stage, *paths, "--", *command)
    then = account.argv(*namespaces, *enter, inside.stage, "WORK", "", "", "--", *command)
    return ["unshare", "--mount", *enter, "prepare", *paths, "--", *then]


def _wait_ready(output: int, cancelled: Callable[[], bool]) -> None:
    """Read up to the sandbox's word that it is made."""
    said = b""
    deadline = time.monotonic() + _LIMIT
    while not said.endswith(b"ready\n"):
        if cancelled():
            raise CancelledRun("the worker was told to stop")
        chunk = os.read(output, 4096) if select.select([output], [], [], _LOOK)[0] else None
        said += chunk or b""
        if chunk == b"" or time.monotonic() > deadline:
            late = f" within {_LIMIT:.0f} s" if chunk != b"" else ""
            raise TestbedError(
                f"the testbed's namespaces could not be made{late}",
                details=said.decode(errors="replace"),
                resolution="Run `testyard doctor`; user namespaces must be allowed on this machine.",
            )


def _only_child(pid: int) -> int:
    """The process that leads the new namespaces, by its number here."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(children) != 1:
        raise TestbedError(f"the testbed has {len(children)} first processes, not one")
    return int(children[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
