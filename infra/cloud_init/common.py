# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the documents of several kinds of instances have in common: names, topology, the release."""

from __future__ import annotations

from typing import Any

from infra.cloud_init.document import File, program
from infra.settings import addresses
from infra.settings.stage import Settings

#: Reserved for names that no one else has.
DOMAIN = "testyard.internal"
BROKER, DATABASE = f"broker.{DOMAIN}", f"database.{DOMAIN}"
SECRETS = "/etc/testyard/secrets"
VHOST = "testyard"
#: Where each function listens on its instance, and the site on its.
PORTS = {"index": 8001, "status": 8002, "request": 8003, "webhook": 8004, "forge": 8005, "notify": 8006}
WEB_PORT = 8080
#: Where HAProxy listens on each of these when the cloud balances.
FRONT_PORT = 8000


def names(settings: Settings) -> File:
    """Names of what has fixed addresses. The broker's has one of each node: clients try them in turn."""
    home = settings.home.subnet
    nodes = addresses.broker(home, settings.broker.nodes)
    lines = [f"{address} {BROKER} broker-{number}" for number, address in enumerate(nodes, 1)]
    lines.append(f"{addresses.database(home)} {DATABASE}")
    return File("/etc/hosts", "".join(f"{line}\n" for line in lines), append=True)


def code(settings: Settings, kind: str) -> tuple[dict[str, str], tuple[File, ...]]:
    """Keys of node.env and the program that put the release there, with what ``kind`` needs of it."""
    release = settings.release
    values = {"CODE_KIND": kind}
    if release is not None:
        values |= {"CODE_URL": release.url, "CODE_SHA256": release.sha256}
    return values, (program("testyard-code"),)


def topology(settings: Settings) -> dict[str, Any]:
    """The section of that name in testyard's settings."""
    return {
        "releases": list(settings.topology.releases),
        "architectures": [str(each) for each in settings.architectures],
        "contexts": list(settings.topology.contexts),
    }
