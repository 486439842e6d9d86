# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether this machine can run tests: one finding for each thing that they need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Program → Debian package that brings it.
_PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "pasta": "passt",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
#: Bytes that a run may need in the work folder.
_ROOM = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One check: ``problem`` is empty if all is well."""

    name: str
    problem: str = ""
    mend: str = ""


def examine_machine() -> Iterator[Finding]:
    """What every machine with a worker needs."""
    yield from (_program(name, package) for name, package in _PROGRAMS.items())
    yield _user_namespaces()
    yield _tun_device()


def work_folder(folder: Path) -> Finding:
    """Whether a run has room there."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _ROOM:
        return Finding("work folder", f"{free / 1e9:.1f} GB free", f"make room below {folder}: 2 GB a slot")
    return Finding("work folder")


def _program(name: str, package: str) -> Finding:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    if shutil.which(name, path=path):
        return Finding(name)
    return Finding(name, "not installed", f"apt-get install {package}")


def _user_namespaces() -> Finding:
    command = ["unshare", "--user", "--map-root-user", "--net", "true"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("user namespaces", str(error), "apt-get install util-linux")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        return Finding("user namespaces", said, "allow them: sysctl kernel.unprivileged_userns_clone=1")
    return Finding("user namespaces")


def _tun_device() -> Finding:
    device = Path("/dev/net/tun")
    if not device.exists():
        return Finding("/dev/net/tun", "not there", "modprobe tun")
    if os.geteuid() != 0 and not os.access(device, os.R_OK | os.W_OK):
        return Finding("/dev/net/tun", "not open to this account", "as root: chmod 0666 /dev/net/tun")
    return Finding("/dev/net/tun")
