# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of the package archives that requests name."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from testyard.ppa import Ppa
from testyard.section import Section


class Archives(Section):
    """Package archives that requests name (``ppas``): where they are, and where their keys come from.

    A request fills ``{owner}``, ``{name}`` and ``{fingerprint}``, so none may stand in a host's name.
    """

    public_url: str = Field(
        default="https://ppa.launchpadcontent.net/{owner}/{name}/ubuntu", description="public archives"
    )
    private_url: str = Field(
        default="https://private-ppa.launchpadcontent.net/{owner}/{name}/ubuntu",
        description="archives with credentials",
    )
    component: str = Field(default="main", pattern="^[a-z0-9-]+$")
    keys: Path | None = Field(
        default=None, description="folder of <fingerprint>.asc and <owner>-<name>.asc, asked first"
    )
    key_url: str = Field(
        default="https://keyserver.ubuntu.com/pks/lookup?op=get&search=0x{fingerprint}",
        description="key by fingerprint; empty: only the folder's",
    )
    about_url: str = Field(
        default="https://api.launchpad.net/1.0/~{owner}/+archive/ubuntu/{name}",
        description="JSON whose signing_key_fingerprint is that of a public archive's key; empty: not asked",
    )

    def address(self, ppa: Ppa) -> str:
        """Where an archive is; never with credentials."""
        template = self.public_url if ppa.public else self.private_url
        return template.format(owner=ppa.owner, name=ppa.name)

    @field_validator("public_url", "private_url", "key_url", "about_url")
    @classmethod
    def _names_its_host(cls, value: str, info: ValidationInfo) -> str:
        known = ("fingerprint",) if info.field_name == "key_url" else ("owner", "name")
        scheme, _, rest = value.partition("://")
        host = rest.partition("/")[0]
        if value and (scheme not in ("http", "https") or not re.fullmatch(r"[a-zA-Z0-9.-]+(:\d+)?", host)):
            raise ValueError("must be an http(s) address whose host is fixed and bears no credentials")
        if re.search(r"[{}\s]", re.sub("|".join(rf"\{{{name}\}}" for name in known), "", value)):
            raise ValueError(f"may hold {' and '.join(f'{{{name}}}' for name in known)} only")
        return value
