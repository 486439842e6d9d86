# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenStack Keystone in one process, on loopback: SQLite, Fernet tokens, one thread; 4 s to start.

    python -m tests.keystone_server FOLDER PORT REGION     # the admin's password comes from KEYSTONE_PASSWORD

The folder keeps everything; a second start finds it there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from cryptography.fernet import Fernet
from keystone.cmd.bootstrap import Bootstrapper
from keystone.common.sql import upgrades
from keystone.server import backends, configure
from keystone.server.flask.application import application_factory
from keystone.server.flask.core import setup_app_middleware

# the fewest rounds for passwords; Keystone's own cache, right for one process, makes an answer 20 ms, not 400
_CONFIG = """\
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{folder}/keystone.sqlite
[cache]
enabled = true
backend = oslo_cache.dict
[identity]
password_hash_rounds = 4
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
"""


class Handler(WSGIRequestHandler):
    """Answers without asking for the caller's host name, and without a line each."""

    def address_string(self) -> str:
        """The address will do."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: object) -> None:
        """Keystone has a log of its own."""


def create_keys(folder: Path) -> None:
    """A staged and a primary key, as keystone-manage makes them."""
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)
        for name in ("0", "1"):
            (folder / name).write_bytes(Fernet.generate_key())


def create_tables(url: str, region: str, password: str) -> None:
    """Make the database and its first account: admin of the project admin. Loads the back-ends."""
    upgrades.offline_sync_database_to_version()
    first = Bootstrapper()
    first.admin_username = first.project_name = first.admin_role_name = "admin"
    first.admin_password = password
    first.public_url = first.internal_url = first.admin_url = url
    first.service_name, first.region_id = "keystone", region
    first.bootstrap()


def main() -> None:
    """Serve until killed."""
    folder, port, region = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    sys.argv = sys.argv[:1]  # Keystone would read it too
    for name in ("fernet", "credential"):
        create_keys(folder / name)
    file = folder / "keystone.conf"
    file.write_text(_CONFIG.format(folder=folder))
    configure(config_files=[str(file)])
    if (folder / "keystone.sqlite").exists():
        backends.load_backends()
    else:
        create_tables(f"http://127.0.0.1:{port}/v3", region, os.environ["KEYSTONE_PASSWORD"])
    application = setup_app_middleware(application_factory())
    with make_server("127.0.0.1", port, application, handler_class=Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
