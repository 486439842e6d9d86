# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local instance's Swift with Keystone in front of it instead of Swift's own authentication.

    python -m tests.keystone_swift FOLDER PORT A,B,C KEYSTONE_URL     # KEYSTONE_PASSWORD: the service user's

FOLDER holds ``secrets.json`` as `testyard.local.swift_server` has it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from testyard.local.swift_conf import SwiftFolder, prepare
from testyard.local.swift_secrets import load_secrets
from testyard.local.swift_server import Flights, patch_process, start_servers

SERVICE_USER = "swift"
SERVICE_PROJECT = "service"

# without a cache, a revoked token is refused at once. Access rules of application credentials need type and
# catalogue: without the catalogue, as Swift's sample has it, this middleware answers 500 to them
_FILTERS = """
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
auth_type = password
auth_url = {url}
www_authenticate_uri = {url}
username = {user}
password = {password}
project_name = {project}
user_domain_id = default
project_domain_id = default
delay_auth_decision = true
service_type = object-store
token_cache_time = -1
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = member
"""


def main() -> None:
    """Serve until killed."""
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    back_ends, url = tuple(int(number) for number in sys.argv[3].split(",")), sys.argv[4]
    folder, secrets = SwiftFolder(root), load_secrets(root)
    prepare(folder, port, back_ends, secrets)
    conf = folder.conf("proxy")
    text, _, _ = conf.read_text().partition("[filter:tempauth]")
    filters = _FILTERS.format(
        url=url, user=SERVICE_USER, password=os.environ["KEYSTONE_PASSWORD"], project=SERVICE_PROJECT
    )
    conf.write_text(text.replace(" tempauth ", " authtoken keystoneauth ") + filters)
    patch_process(folder, secrets.back_end)
    start_servers(folder, port, back_ends, Flights())
    import eventlet  # noqa: PLC0415  only the patched process may have it

    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    main()
