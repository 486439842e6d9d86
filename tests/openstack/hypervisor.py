# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the plane's made-up machines lack: each new instance of ours gets an sshd at its address.

As an image with cloud-init would: keys and who may log in come from the instance's user data, which Nova has.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from openstack.connection import Connection

from tests.sshd import far_machine

_LOOK = 0.5


class Hypervisor:
    """Boots instances whose names begin with ``testyard-``, while it is open. ``booted``: their user data."""

    def __init__(self, admin: Connection, folder: Path) -> None:
        self._admin, self._folder = admin, folder
        self._over = ExitStack()
        self._ended = threading.Event()
        self.booted: dict[str, dict[str, Any]] = {}
        self.errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Hypervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._over.close()
        assert self.errors == []

    def _run(self) -> None:
        try:
            while not self._ended.wait(_LOOK):
                for server in self._admin.compute.servers(all_projects=True):
                    ours = server.name.startswith("testyard-")
                    if ours and server.status == "ACTIVE" and server.id not in self.booted:
                        self._boot(server)
        except Exception as error:
            self.errors.append(error)

    def _boot(self, server: Any) -> None:
        data = base64.b64decode(server.user_data).decode()
        head, _, config = data.partition("\n")
        assert head == "#cloud-config"
        wanted = json.loads(config)
        folder = self._folder / server.id
        folder.mkdir()
        (folder / "host").write_text(wanted["ssh_keys"]["ed25519_private"])
        (folder / "host").chmod(0o600)
        (people,) = (user for user in wanted["users"] if user != "default")
        (folder / "key.pub").write_text("\n".join([*people["ssh_authorized_keys"], ""]))
        ((address,),) = ([each["addr"] for each in addresses] for addresses in server.addresses.values())
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        self._over.callback(
            subprocess.run, ["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True
        )
        self._over.enter_context(far_machine(folder, address, 22))
        self.booted[server.id] = wanted
