# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a plane's folder keeps between two starts: ports and passwords."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from testyard.local.files import make_private_folder, write_private
from testyard.local.ports import LOOPBACK, free_ports

REGION = "RegionOne"
_FILE = "state.json"
#: Each has one port; Swift's three last ones are its own affair.
PORT_NAMES = (
    "keystone",
    "placement",
    "glance",
    "neutron",
    "nova",
    "cinder",
    "swift",
    "swift-account",
    "swift-container",
    "swift-object",
)


@dataclass(frozen=True)
class State:
    """``admin``, ``member`` and ``service`` are passwords."""

    folder: Path
    ports: Mapping[str, int]
    admin: str
    member: str
    service: str

    def url(self, part: str) -> str:
        """Where a part answers."""
        return f"http://{LOOPBACK}:{self.ports[part]}"

    @property
    def auth_url(self) -> str:
        """Keystone's address, with its version."""
        return f"{self.url('keystone')}/v3"

    @property
    def clouds_yaml(self) -> Path:
        """What clients are told; it holds passwords."""
        return self.folder / "clouds.yaml"

    @property
    def logs(self) -> Path:
        """One log for each part."""
        return self.folder / "logs"

    @property
    def seeded(self) -> Path:
        """It is there once all that a new plane has was made."""
        return self.folder / "seeded"


def known(folder: Path) -> bool:
    """Whether a plane was started in ``folder`` before."""
    return (folder / _FILE).exists()


def load_or_create(folder: Path) -> State:
    """The state in ``folder``, which need not be there yet."""
    folder = folder.absolute()
    make_private_folder(folder)
    file = folder / _FILE
    if not file.exists():
        made = State(
            folder,
            dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True)),
            *(secrets.token_hex(16) for _ in range(3)),
        )
        content = {name: value for name, value in asdict(made).items() if name != "folder"}
        write_private(file, json.dumps(content, indent=1) + "\n")
    state = State(folder, **json.loads(file.read_bytes()))
    make_private_folder(state.logs)
    return state
