# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network for one testbed: it reaches the package archive, and nothing of this machine."""

from __future__ import annotations

import ipaddress
import subprocess
import threading
import time
from pathlib import Path

from testyard.errors import TestbedError
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.account import Account
from worker.testbed.resolver import Resolver

#: pasta copies the machine's address and routes into the namespace and carries what comes out of
#: it. Without these options it would forward loopback ports both ways and map the gateway to us.
_PASTA = ("pasta", "--config-net", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none")

#: Seconds until the interface must be up. Seen: 0.01 to 0.1.
_LIMIT = 10.0
#: Bytes kept of what pasta says.
_KEPT = 4096


class Network:
    """A running pasta. What it says is read all the time: a full pipe would stop it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said = b""
        self._reader = threading.Thread(target=self._listen, name="pasta", daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """False once it has ended, and with it the testbed's network."""
        return self._process.poll() is None

    def end(self) -> str:
        """End it; says why if it had failed by itself, else nothing."""
        # newer ones end well, by themselves, soon after the namespace is gone
        early = self._process.poll() not in (None, 0)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if not early:
            return ""
        return f"the testbed's network ended before the run did\n{self.said()}".rstrip()

    def said(self) -> str:
        """The end of what it said, without its complaints about a missing syslog."""
        lines = self._said.decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if "to syslog" not in line)

    def _listen(self) -> None:
        assert self._process.stderr
        with self._process.stderr as pipe:
            while chunk := pipe.read1(_KEPT):  # type: ignore[attr-defined]  # it is buffered
                self._said = (self._said + chunk)[-_KEPT:]


def attach_network(account: Account, pid: int, resolver: Resolver) -> Network:
    """Give the network namespace of a process a way out, and to the resolver.

    Raises TestbedError if it cannot, saying what is missing.
    """
    open_tun_device(account)
    # with --dns named too, pasta 2023-03 answers from the gateway's address, which no client accepts
    forward = ("--dns-forward", resolver.forward) if resolver.forward else ()
    network = Network(
        subprocess.Popen(
            account.argv(*_PASTA, *forward, "-f", "-q", str(pid)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=CLEAN_ENVIRONMENT,
            cwd="/",
        )
    )
    deadline = time.monotonic() + _LIMIT
    while not _has_route(pid):
        if not network.running or time.monotonic() > deadline:
            network.end()
            raise TestbedError(
                "the testbed's network did not come up",
                details=network.said(),
                resolution="Does this machine have a default route, and is /dev/net/tun open to all?",
            )
        time.sleep(0.005)
    return network


def own_addresses() -> list[str]:
    """This machine's addresses beside loopback, IPv4 and IPv6, as text without an interface's name."""
    found, address = set(), ""
    for line in _lines(Path("/proc/net/fib_trie")):
        words = line.split()
        if words[0] == "|--":
            address = words[1]  # the lines below say what it is
        elif words == ["/32", "host", "LOCAL"]:
            found.add(address)
    for line in _lines(Path("/proc/net/if_inet6")):
        found.add(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    return sorted(address for address in found if not ipaddress.ip_address(address).is_loopback)


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


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
