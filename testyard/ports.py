# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rooms ask of the world, as abstract nouns; adapters answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """An object store with containers, as OpenStack Swift has them.

    Every method tries again by itself on a passing failure and raises StoreError when it gives up.
    """

    def ensure_container(self, container: str, *, read_acl: str = "") -> None:
        """Create the container if it is missing, with ``read_acl`` as Swift's X-Container-Read.

        An existing one keeps its readers: a new reader would see what was stored for others.
        """

    def create_container(self, container: str) -> bool:
        """Create the container without readers; False if it is there. Of several callers one is told True."""

    def read_acl(self, container: str) -> str:
        """Its X-Container-Read, empty if there is none."""

    def set_read_acl(self, container: str, acl: str) -> None:
        """Change who may read it."""

    def put(
        self,
        container: str,
        name: str,
        content: bytes | Path,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        expire_after: int | None = None,
    ) -> None:
        """Write an object. A file is sent from its start on every attempt.

        It is gone ``expire_after`` seconds from now, or within a day after that.
        """

    def get(self, container: str, name: str) -> bytes | None:
        """An object's content; None if there is no such object or container."""

    def names(
        self, container: str, *, prefix: str = "", delimiter: str = "", marker: str = ""
    ) -> Sequence[str]:
        """All names after ``marker``, sorted; with a delimiter, common prefixes instead of what is below.

        Empty if there is no such container.
        """

    def containers(self, *, prefix: str = "") -> Sequence[str]:
        """The account's containers, sorted."""

    def delete(self, container: str, name: str) -> None:
        """Remove an object; nothing happens if it is not there."""
