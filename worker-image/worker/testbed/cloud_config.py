# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an instance is told before its first boot: cloud-init's user data.

It brings the instance's own host key, so that who answers there is known before it has ever answered.
Whoever is in the instance can read all of this; it is worth nothing elsewhere.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

from testyard.errors import LastingTestbedError
from testyard.hosts import OpenStackHost, SshHost
from worker import process

#: Bytes that Nova takes, in base64: 65,535.
MOST_BYTES = 49_149


@dataclass(frozen=True)
class Keys:
    """Two pairs, for one instance: its own, and that of who logs in."""

    folder: Path

    def text(self, name: str) -> str:
        """Of ``host``, ``host.pub``, ``client`` or ``client.pub``."""
        return (self.folder / name).read_text()

    def host_at(self, host: OpenStackHost, address: str) -> SshHost:
        """How ssh gets there; writes the file that knows the instance's key."""
        known = self.folder / "known_hosts"
        known.write_text(f"{address} {self.text('host.pub')}")
        return SshHost(
            name=host.name,
            address=address,
            user=host.user,
            identity=self.folder / "client",
            known_hosts=known,
            capabilities=("isolation-machine", "reboot"),
        )


@contextmanager
def new_keys() -> Iterator[Keys]:
    """Keys that no other instance has, in a folder that is only ours and soon gone. Raises TestbedError."""
    with tempfile.TemporaryDirectory(prefix="testyard-keys-") as name:
        keys = Keys(Path(name))
        for pair in ("host", "client"):
            file = str(keys.folder / pair)
            process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testyard", "-f", file])
        yield keys


def user_data(host: OpenStackHost, keys: Keys) -> str:
    """The document. Raises LastingTestbedError if the operator's part cannot be read, or is too long."""
    ours = f"#cloud-config\n{json.dumps(cloud_config(host, keys), indent=1)}\n"
    if host.user_data is None:
        return ours
    try:
        theirs = host.user_data.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unusable(host, f"{host.user_data} cannot be read") from error
    if not theirs.startswith("#cloud-config"):
        raise _unusable(host, f"{host.user_data} does not begin with #cloud-config")
    parts = MIMEMultipart()
    for text in (theirs, ours):  # ours last: it wins
        part = MIMEText(text, "cloud-config", "utf-8")
        part["Merge-Type"] = "list(append)+dict(recurse_array)+str()"
        parts.attach(part)
    whole = parts.as_string()
    if len(whole.encode()) > MOST_BYTES:
        raise _unusable(host, f"{host.user_data} is too long: with ours {MOST_BYTES} bytes at most")
    return whole


def cloud_config(host: OpenStackHost, keys: Keys) -> dict[str, Any]:
    """cloud-init's module settings: who may log in, which key the instance has, what it needs."""
    user: dict[str, Any] = {"name": host.user, "ssh_authorized_keys": [keys.text("client.pub").strip()]}
    if host.user != "root":
        user |= {"sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "lock_passwd": True}
    return {
        "users": ["default", user],
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": keys.text("host"), "ed25519_public": keys.text("host.pub").strip()},
        "packages": list(host.packages),
        "package_update": bool(host.packages),
        "package_upgrade": False,
    }


def _unusable(host: OpenStackHost, problem: str) -> LastingTestbedError:
    return LastingTestbedError(f"host {host.name}: {problem}", resolution="See to `user_data` of this host.")
