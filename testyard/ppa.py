# SPDX-License-Identifier: AGPL-3.0-or-later
"""A personal package archive as requests name it: ``[user:token@]owner/name[:fingerprint]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from testyard.errors import RequestError

_FORM = re.compile(
    r"(?:(?P<user>[^:@/\s]+):(?P<token>[^@/\s]+)@)?"
    r"(?P<owner>[a-z0-9][a-z0-9.+-]*)/(?P<name>[a-z0-9][a-z0-9.+-]*)"
    r"(?::(?P<fingerprint>[0-9A-Fa-f]{8,64}))?"
)


@dataclass(frozen=True)
class Ppa:
    """``user`` and ``token`` are for a private archive, else empty; ``fingerprint`` is in capitals."""

    owner: str
    name: str
    fingerprint: str = ""
    user: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, item: str) -> Ppa:
        """Read one. Raises RequestError, without the item: it may hold credentials."""
        match = _FORM.fullmatch(item)
        if match is None or ".." in match["owner"] + match["name"]:
            raise RequestError("ppas", "each must be owner/name, optionally with credentials and fingerprint")
        return cls(
            owner=match["owner"],
            name=match["name"],
            fingerprint=(match["fingerprint"] or "").upper(),
            user=match["user"] or "",
            token=match["token"] or "",
        )

    def __str__(self) -> str:
        """Its name, for people: without credentials and fingerprint."""
        return f"{self.owner}/{self.name}"

    @property
    def public(self) -> bool:
        """True if it is read without credentials."""
        return not self.user
