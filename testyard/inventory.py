# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which LXD hosts a deployment has, and which worker uses which: an object of each region in the store.

The deployment writes it (``infra/stacks/lxd_hosts.py``), workers look for it each minute
(``worker/remotes.py``). So a new host is used without anyone editing a file, and no worker is made anew
for it. A JSON object:

| key | |
|---|---|
| ``remotes`` | architecture → address → slots |
| ``workers`` | name of a worker → list of its hosts, with the keys of ``worker.hosts`` (docs/settings.md) |

Certificates are not in it: they came to worker and host with their other secrets.
"""

from __future__ import annotations

import json
from typing import Any

from testyard.errors import ResultError
from testyard.jsonobject import parse_object

#: Its container; nobody but the project's own may read it.
INVENTORY = "testyard-inventory"


def object_name(region: str) -> str:
    """The object of a region."""
    return f"lxd/{region}.json"


def hosts_of(body: bytes, worker: str) -> list[dict[str, Any]]:
    """The tables of a worker's hosts. Raises ResultError if the object is none of ours."""
    try:
        workers = parse_object(body.decode())["workers"]
        found = workers.get(worker, [])
        if not isinstance(found, list) or not all(isinstance(host, dict) for host in found):
            raise TypeError("no list of tables")  # noqa: TRY301  one sentence for all of it
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(f"the inventory of LXD hosts cannot be read: {error}") from error
    return found


def inventory_text(remotes: dict[str, dict[str, int]], workers: dict[str, list[dict[str, Any]]]) -> str:
    """The object's content."""
    return json.dumps({"remotes": remotes, "workers": workers}, sort_keys=True)
