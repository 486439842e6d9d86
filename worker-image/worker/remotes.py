# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker's LXD hosts, as the deployment's inventory says; a timer calls this each minute.

    python -m worker.remotes REGION BASE SETTINGS

BASE are the worker's settings without hosts, SETTINGS the file that it reads: that is written anew, and
the worker told to read it, when the inventory says something new. Certificates are in the folder
``TESTYARD_SECRETS`` (/etc/testyard/secrets). Ends with 0 if all is well, also when nothing is new, with 1
if it is not: what was there stays.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
import sys
import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from testyard import control
from testyard.adapters.swift import SwiftStore
from testyard.errors import ResultError, SettingsError, StoreError, TestyardError
from testyard.hosts import LxdHost
from testyard.inventory import INVENTORY, hosts_of, object_name
from testyard.ports import Store
from testyard.settings import load_settings
from testyard.tomltext import toml_text

log = logging.getLogger(__name__)

_SECRETS = Path("/etc/testyard/secrets")


def remote_hosts(store: Store, region: str, worker: str, secrets: Path) -> list[dict[str, Any]]:
    """The tables of a worker's hosts. Raises StoreError, ResultError, SettingsError."""
    body = store.get(INVENTORY, object_name(region))
    if body is None:
        return []
    pair = {"certificate": str(secrets / "lxd-client.crt"), "key": str(secrets / "lxd-client.key")}
    trusted = {"fingerprint": fingerprint(secrets / "lxd-server.crt"), **pair}
    found = [{**host, **trusted, "testbed": "lxd"} for host in hosts_of(body, worker)]
    try:
        TypeAdapter(list[LxdHost]).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise ResultError(
            f"the inventory has a host that is none: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
    return found


def fingerprint(certificate: Path) -> str:
    """Of the certificate that all LXD hosts of the deployment have. Raises SettingsError."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{certificate}: no certificate", resolution="Put the secrets on this instance again."
        ) from error


def settings_text(base: str, hosts: list[dict[str, Any]]) -> str:
    """The worker's settings file. Without any host it has one for no architecture, so it takes nothing."""
    idle = {"name": "none", "testbed": "lxd", "architectures": ["none"]}
    return f"{base}\n{toml_text({'worker': {'hosts': hosts or [idle]}})}"


def renew(file: Path, text: str) -> bool:
    """Write it if it says something else; whoever reads it meanwhile has the old or the new text."""
    if file.exists() and file.read_text() == text:
        return False
    tomllib.loads(text)
    new = file.with_name(f"{file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w") as opened:
        opened.write(text)
    new.replace(file)
    return True


def main(argv: list[str]) -> int:
    """See the module."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(argv) != 3:
        log.error("usage: python -m worker.remotes REGION BASE SETTINGS")
        return 2
    region, base, file = argv[0], Path(argv[1]), Path(argv[2])
    try:
        os.environ["TESTYARD_CONFIG"] = str(base)
        settings = load_settings()
        store = SwiftStore(settings.store)
        secrets = Path(os.environ.get("TESTYARD_SECRETS") or _SECRETS)
        hosts = remote_hosts(store, region, settings.worker.name, secrets)
        if renew(file, settings_text(base.read_text(), hosts)):
            log.info("LXD hosts now: %s", ", ".join(host["name"] for host in hosts) or "none")
            control.reload(store, settings.worker.name)
    except (StoreError, ResultError, SettingsError) as error:
        log.error("%s", error)
        return 1
    except (OSError, TestyardError) as error:
        log.error("the worker's hosts stay as they were: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
