# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network for one testbed: it reaches the package archive, and nothing of this machine."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from testyard.errors import TestbedError
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.account import Account

#: pasta copies the machine's address and routes into the namespace and carries what comes out of
#: it. Without these options it would forward loopback ports both ways and map the gateway to us.
_PASTA = ("pasta", "--config-net", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none")

#: Seconds until the interface must be up. Seen: 0.01 to 0.1.
_LIMIT = 10.0


def attach_network(account: Account, pid: int) -> subprocess.Popen[bytes]:
    """Give the network namespace of a process a way out; returns pasta, which must be ended.

    Raises TestbedError if it cannot, saying what is missing.
    """
    open_tun_device(account)
    pasta = subprocess.Popen(
        account.argv(*_PASTA, "-f", "-q", str(pid)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=CLEAN_ENVIRONMENT,
        cwd="/",
    )
    deadline = time.monotonic() + _LIMIT
    while not _has_route(pid):
        if pasta.poll() is not None or time.monotonic() > deadline:
            pasta.kill()
            _, said = pasta.communicate()
            raise TestbedError(
                "the testbed's network did not come up",
                details=_without_syslog(said.decode(errors="replace")),
                resolution="Does this machine have a default route, and is /dev/net/tun open to all?",
            )
        time.sleep(0.005)
    return pasta


def open_tun_device(account: Account) -> None:
    """Make /dev/net/tun usable for the account, as udev does on every usual system (mode 0666).

    Raises TestbedError if it is not and we may not.
    """
    device = Path("/dev/net/tun")
    try:
        mode = device.stat().st_mode
        if mode & 0o006 != 0o006:
            device.chmod(0o666)
    except OSError as error:
        raise TestbedError(
            f"/dev/net/tun cannot be used by {account.name}: {error.strerror}",
            resolution="Run as root: modprobe tun; chmod 0666 /dev/net/tun",
        ) from error


def _has_route(pid: int) -> bool:
    try:
        v4 = Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]
        v6 = Path(f"/proc/{pid}/net/ipv6_route").read_text().splitlines()
    except (OSError, IndexError):
        return False
    return bool(v4) or any(not line.rstrip().endswith("lo") for line in v6)


def _without_syslog(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "to syslog" not in line)
