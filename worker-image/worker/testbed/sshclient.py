# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ssh client's side of a connection: nothing of ours goes with it, and the host must be known.

The key stays in an agent of its own, outside of what autopkgtest can see; the host is never offered
that agent. Paths are relative to a folder because a socket's name has 107 bytes at most.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import LastingTestbedError, TestbedError
from testyard.hosts import SshHost
from worker import process
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.account import Account

#: Names in a client's folder.
AGENT, KNOWN_HOSTS, CLIENT = "agent", "known_hosts", "ssh"
#: Seconds until an agent must listen. Seen: 0.02.
_LIMIT = 10.0
#: What the host is asked: its architecture and release.
_ASK = 'echo "testyard $(dpkg --print-architecture) $(. /etc/os-release; echo $VERSION_CODENAME)"'


@dataclass(frozen=True)
class Answer:
    """What a host said of itself: Debian's architecture, the release's code name; empty if unknown."""

    architecture: str
    release: str


class Agent:
    """A running ssh-agent that has one key."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def end(self) -> str:
        """End it; says nothing: without it the client's own message is the better one."""
        self._child.kill()
        self._child.wait()
        return ""


def options(folder: str) -> tuple[str, ...]:
    """ssh's options, for a client's folder at ``folder``; of each, ssh takes the first that it is given."""
    pairs = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f"{folder}/{KNOWN_HOSTS}",
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "IdentityAgent": f"{folder}/{AGENT}",
        "PreferredAuthentications": "publickey",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "Tunnel": "no",
        "ConnectTimeout": "10",
        # a host that is gone is noticed within a minute
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "BatchMode": "yes",
    }
    # no file: neither this machine's settings nor the account's, so no SendEnv of theirs either
    return ("-F", "none", *(word for name, value in pairs.items() for word in ("-o", f"{name}={value}")))


def make_client(account: Account, host: SshHost, folder: Path, inside: str) -> Agent:
    """Fill a client's folder, which is the account's; it is at ``inside`` where the program is used.

    autopkgtest's runner calls `ssh` with host key checking off; the program takes our options first.
    Raises TestbedError; LastingTestbedError if key or known hosts cannot be used.
    """
    client = f'#!/bin/sh\nexec /usr/bin/ssh {shlex.join(options(inside))} "$@"\n'
    for name, text in ((KNOWN_HOSTS, _text(host, host.known_hosts)), (CLIENT, client)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        account.give(folder / name)
    child = subprocess.Popen(
        account.argv("ssh-agent", "-D", "-a", AGENT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=CLEAN_ENVIRONMENT,
        cwd=folder,
    )
    agent = Agent(child)
    try:
        _wait_for(folder / AGENT, child)
        _add_key(account, host, folder)
    except BaseException:
        agent.end()
        raise
    return agent


@contextmanager
def client(account: Account, host: SshHost) -> Iterator[Path]:
    """A client's folder for as long as it is needed. Raises TestbedError."""
    with tempfile.TemporaryDirectory(prefix="testyard-ssh-") as name:
        folder = Path(name)
        account.give(folder)
        agent = make_client(account, host, folder, ".")
        try:
            yield folder
        finally:
            agent.end()


def ask(
    account: Account, host: SshHost, *, timeout: float = 30, cancelled: Callable[[], bool] = lambda: False
) -> Answer:
    """Log in and ask what it is, within ``timeout`` seconds.

    Raises TestbedError if it does not answer; LastingTestbedError if it is not the known host, or
    refuses the key; CancelledRun.
    """
    with client(account, host) as folder:
        said = call(account, host, folder, _ASK, timeout=timeout, cancelled=cancelled)
    found = re.search(r"^testyard (\S*) (\S*)$", said, re.MULTILINE)
    if not found:
        raise LastingTestbedError(
            f"host {host.name} is no Debian or Ubuntu, or {host.user} has no shell there", details=said
        )
    return Answer(found[1], found[2])


def call(
    account: Account,
    host: SshHost,
    folder: Path,
    words: str,
    *,
    timeout: float = 30,
    cancelled: Callable[[], bool] = lambda: False,
) -> str:
    """Run a shell's words on the host; gives what they print. Raises as `ask` does."""
    command = ("ssh", *options("."), "-p", str(host.port), "-l", host.user, host.address, words)
    try:
        return process.run(account.argv(*command), timeout=timeout, cwd=folder, cancelled=cancelled)
    except TestbedError as error:
        raise _explained(error, host) from error


def _explained(error: TestbedError, host: SshHost) -> TestbedError:
    said = error.details.partition("\n")[2]
    last = said.splitlines()[-1:] or [error.brief]
    place = f"{host.user}@{host.address} port {host.port}"
    if "Host key verification failed" in said:
        known = "HOST IDENTIFICATION HAS CHANGED" in said
        return LastingTestbedError(
            f"host {host.name}: its key is {'not the one' if known else 'not'} in {host.known_hosts}",
            details=said,
            resolution="If you trust it: print its keys there, `cat /etc/ssh/ssh_host_*_key.pub`, "
            f"and put them into that file, each line with [{host.address}]:{host.port} in front.",
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        return LastingTestbedError(
            f"host {host.name}: {place} refuses the key {host.identity}",
            details=said,
            resolution=f"Put its public part into {host.user}'s ~/.ssh/authorized_keys on the host.",
        )
    return TestbedError(
        f"host {host.name}: {place} does not answer: {last[0]}",
        details=said,
        resolution="Is it switched on, and does its sshd run?",
    )


def _add_key(account: Account, host: SshHost, folder: Path) -> None:
    try:
        with host.identity.open("rb") as key:
            environment = {"SSH_AUTH_SOCK": f"./{AGENT}"}
            command = account.argv("ssh-add", "-q", "-")
            process.run(command, timeout=10, cwd=folder, environment=environment, stdin=key)
    except OSError as error:
        raise _unreadable(host, host.identity, error) from error
    except TestbedError as error:
        raise LastingTestbedError(
            f"host {host.name}: {host.identity} is no private key without a passphrase",
            details=error.details,
            resolution=f"Make one: ssh-keygen -t ed25519 -N '' -f {host.identity}",
        ) from error


def _text(host: SshHost, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(host, path, error) from error


def _unreadable(host: SshHost, path: Path, error: Exception) -> LastingTestbedError:
    return LastingTestbedError(
        f"host {host.name}: {path} cannot be read: {getattr(error, 'strerror', error)}",
        resolution="Both identity and known_hosts must be files that the worker can read.",
    )


def _wait_for(agent: Path, child: subprocess.Popen[bytes]) -> None:
    """Until it listens: its socket is there before that. Raises TestbedError."""
    deadline = time.monotonic() + _LIMIT
    while not _listens(agent):
        if child.poll() is not None or time.monotonic() > deadline:
            raise TestbedError("ssh-agent could not be started")
        time.sleep(0.005)


def _listens(agent: Path) -> bool:
    folder = os.open(agent.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(
                f"/proc/self/fd/{folder}/{agent.name}"
            )  # its own path may be longer than 107 bytes
    except OSError:
        return False
    finally:
        os.close(folder)
    return True
