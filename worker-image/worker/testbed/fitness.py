# SPDX-License-Identifier: AGPL-3.0-or-later
"""What testbeds need of the machine that they are on, and whether it has that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from testyard.errors import TestbedError
from worker import process
from worker.testbed.account import Account
from worker.testbed.base import Problem


def missing_programs(programs: Mapping[str, str]) -> tuple[Problem, ...]:
    """Those that are not installed; ``programs`` tells which Debian package brings each."""
    path = process.CLEAN_ENVIRONMENT["PATH"]
    missing = [name for name in programs if not shutil.which(name, path=path)]
    return tuple(Problem(f"{name} is not installed", f"apt-get install {programs[name]}") for name in missing)


def user_namespaces(account: Account) -> tuple[Problem, ...]:
    """Whether the account may make them."""
    try:
        process.run(account.argv("unshare", "--user", "--map-root-user", "--net", "true"), timeout=5)
    except TestbedError as error:
        said = error.details.splitlines()[-1:] or [error.brief]
        mend = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
        return (Problem(f"user namespaces: {said[0]}", mend),)
    return ()


def tun_device(device: Path = Path("/dev/net/tun")) -> tuple[Problem, ...]:
    """Whether networks can be made for namespaces, by every account."""
    if not device.exists():
        return (Problem(f"{device} is not there", "modprobe tun"),)
    ours = os.geteuid() != 0 and os.access(device, os.R_OK | os.W_OK)  # root's testbeds have another account
    if device.stat().st_mode & 0o006 != 0o006 and not ours:
        return (Problem(f"{device} is not open to testbeds' account", f"as root: chmod 0666 {device}"),)
    return ()


def source_packages() -> tuple[Problem, ...]:
    """Whether apt on this machine knows any: tests come with them."""
    if process.run(["apt-get", "indextargets", "Created-By: Sources"], timeout=5).strip():
        return ()
    mend = "add deb-src lines to the apt sources, then apt-get update; or test from worker.source_dir"
    return (Problem("apt on this machine has no source packages", mend),)
