# SPDX-License-Identifier: AGPL-3.0-or-later
"""A cloud-init document: built from parts, written as JSON, which is YAML.

Programs are files of this package (`files/`), read as they are; what differs from instance to instance
is in ``/etc/testyard``. No secret is in a document: everything on an instance, a test in a testbed too,
may ask the cloud's metadata service for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

_FILES = Path(__file__).parent / "files"
SBIN = "/usr/local/sbin"
UNITS = "/etc/systemd/system"


@dataclass(frozen=True)
class File:
    """A file of the instance, owned by root."""

    path: str
    content: str
    mode: str = "0644"
    append: bool = False


@dataclass(frozen=True)
class Document:
    """``node`` is what programs read in /etc/testyard/node.env; ``masked`` are services that must not be
    started by their packages."""

    kind: str
    name: str
    node: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    masked: tuple[str, ...] = ()

    def render(self) -> str:
        """User data, byte for byte what the instance is to get."""
        files = (*_common_files(), self._node_env(), *self.files)
        content: dict[str, Any] = {
            "hostname": self.name,
            "preserve_hostname": False,
            "manage_etc_hosts": False,
            "disable_root": True,
            "ssh_pwauth": False,
            "groups": ["testyard"],
            "users": ["default", _SYSTEM_USER],
            "bootcmd": [["systemctl", "mask", f"{unit}.service"] for unit in self.masked],
            "package_update": True,
            "packages": sorted({"ca-certificates", "curl", *self.packages}),
            "write_files": [_written(file) for file in files],
            "runcmd": [[f"{SBIN}/testyard-setup"]],
        }
        kept = {key: value for key, value in content.items() if value != []}
        return f"#cloud-config\n{json.dumps(kept, indent=1)}\n"

    def _node_env(self) -> File:
        values = {"KIND": self.kind, "NAME": self.name, **self.node}
        return File(
            "/etc/testyard/node.env", "".join(f"{key}={quote(value)}\n" for key, value in values.items())
        )


#: Operators' keys are no part of the document: another operator would be another instance.
_SSHD = File(
    "/etc/ssh/sshd_config.d/testyard.conf",
    "AuthorizedKeysFile .ssh/authorized_keys /etc/testyard/authorized_keys\n",
)
_SYSTEM_USER = {
    "name": "testyard",
    "system": True,
    "primary_group": "testyard",
    "shell": "/usr/sbin/nologin",
    "no_create_home": True,
}


def program(name: str, *, source: str = "") -> File:
    """One of our programs, in /usr/local/sbin; ``source`` is its name here if it is another."""
    return File(f"{SBIN}/{name}", (_FILES / (source or name)).read_text(encoding="utf-8"), "0755")


def unit(name: str) -> File:
    """One of our systemd units."""
    return File(f"{UNITS}/{name}", (_FILES / name).read_text(encoding="utf-8"))


def etc(name: str, content: str) -> File:
    """A file in /etc/testyard."""
    return File(f"/etc/testyard/{name}", content)


def template_escaped(text: str) -> str:
    """The text as a string of terraform's JSON, where it is a template."""
    return text.replace("${", "$${").replace("%{", "%%{")


def _common_files() -> tuple[File, ...]:
    names = ("testyard-setup", "testyard-say", "testyard-take-secrets")
    units = ("testyard-start.service", "testyard-secrets.path")
    return (*map(program, names), *map(unit, units), _SSHD)


def _written(file: File) -> dict[str, Any]:
    written: dict[str, Any] = {"path": file.path, "content": file.content, "permissions": file.mode}
    return {**written, "append": True} if file.append else written
