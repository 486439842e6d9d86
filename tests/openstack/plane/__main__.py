# SPDX-License-Identifier: AGPL-3.0-or-later
"""A control plane to try things on, without a test:

    python -m tests.openstack.plane up FOLDER      # says how to reach it
    python -m tests.openstack.plane down FOLDER

``up`` after ``down`` starts the same plane again, with all that was made on it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.openstack.plane.cloud import ADMIN_CLOUD, CLOUD, Servers
from tests.openstack.plane.state import known
from tests.programs import last_lines
from testyard.errors import TestyardError
from testyard.local.files import make_private_folder, write_private

_HERE = Path(__file__).parents[3]


def up(folder: Path) -> None:
    """Start a keeper in the background and wait until all parts answer."""
    pid_file, log = folder / "pid", folder / "keeper.log"
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not known(folder))):
        sys.exit(f"{folder} holds other things: name a folder that is new, empty or a plane's.")
    make_private_folder(folder)
    if _running(pid_file):
        sys.exit(f"{folder}: a plane runs there already.")
    pid_file.unlink(missing_ok=True)
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.openstack.plane", "keep", str(folder)],
            cwd=_HERE, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    while not pid_file.exists():
        if keeper.poll() is not None:
            sys.exit(f"The plane did not start. {last_lines(log)}")
        time.sleep(0.1)
    print(log.read_text(), end="")


def keep(folder: Path) -> None:
    """Start all parts, stay until SIGTERM or SIGINT, end all parts."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    servers = Servers(folder)
    try:
        servers.start()
        print(
            "ready after " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in servers.seconds.items())
        )
        print(
            f"export OS_CLIENT_CONFIG_FILE={servers.state.clouds_yaml}  # clouds {CLOUD} and {ADMIN_CLOUD}",
            flush=True,
        )
        write_private(folder / "pid", str(os.getpid()))
        over.wait()
    finally:
        servers.stop()
        (folder / "pid").unlink(missing_ok=True)


def down(folder: Path) -> None:
    """End the keeper, which ends the parts."""
    pid = _running(folder / "pid")
    if not pid:
        sys.exit(f"{folder}: no plane runs there.")
    os.kill(pid, signal.SIGTERM)
    while _running(folder / "pid"):
        time.sleep(0.1)


def _running(pid_file: Path) -> int:
    """The keeper's process id; 0 when it is gone, or the number is another program's by now."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if b"tests.openstack.plane" in command and str(pid_file.parent).encode() in command else 0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.openstack.plane", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "keep"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    try:
        {"up": up, "down": down, "keep": keep}[arguments.what](folder)
    except (TestyardError, AssertionError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
