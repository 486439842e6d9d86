# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this machine is."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable

from testyard.errors import SettingsError


def machine_release() -> str:
    """This machine's code name, e.g. ``bookworm``. Raises SettingsError when it says none."""
    try:
        name = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        name = ""
    if not name:
        raise SettingsError(
            "This machine's /etc/os-release has no VERSION_CODENAME.",
            resolution="Testyard's local mode needs Debian or a distribution made from it.",
        )
    return name


def machine_architecture() -> str:
    """This machine's Debian architecture, e.g. ``amd64``. Raises SettingsError without dpkg."""
    argv = ["dpkg", "--print-architecture"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SettingsError(
            "dpkg does not tell this machine's architecture.",
            details=str(error),
            resolution="Testyard's local mode needs Debian or a distribution made from it.",
        ) from error


def proposed_pocket() -> str:
    """The pocket in which this distribution keeps what waits for its tests: Ubuntu's only."""
    try:
        name = platform.freedesktop_os_release().get("ID", "")
    except OSError:
        name = ""
    return "proposed" if name == "ubuntu" else ""


def unknown_releases(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the releases that apt on this machine has no archive of; none where apt cannot be asked."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(RELEASE)", "Created-By: Packages"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ()
    # as the worker chooses them: bookworm-updates is an archive of bookworm
    lines = (line.split() for line in done.stdout.splitlines())
    known = {
        name.split("-")[0] for origin, *names in lines if origin in ("Debian", "Ubuntu") for name in names
    }
    return tuple(name for name in names if name not in known)
