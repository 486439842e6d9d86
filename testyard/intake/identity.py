# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a token may be used for; a person who has logged in may do all that the policy allows."""

    REQUEST = "request"
    CANCEL = "cancel"
    READ_PRIVATE = "read-private"
    QUEUE = "queue"
    ADMIN = "admin"


@dataclass(frozen=True)
class Identity:
    """Somebody who was recognised.

    ``owner`` is unique over all ways to log in: ``<provider>/<name>``, such as ``github/jane``,
    ``launchpad/jane``, ``operator/root``, ``hook/github/owner/project``. ``login`` is what people read,
    and what stands in a result as requester. ``groups`` are ``<provider>/<group>``.
    """

    owner: str
    login: str
    groups: tuple[str, ...] = ()
    scopes: frozenset[Scope] = frozenset(Scope)
    token: str = ""

    @property
    def names(self) -> frozenset[str]:
        """All by which a policy may know it: itself, and its groups as ``@<provider>/<group>``."""
        return frozenset((self.owner, *(f"@{group}" for group in self.groups)))


#: Nobody in particular.
ANONYMOUS = Identity("", "", scopes=frozenset())
