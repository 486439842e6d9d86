# SPDX-License-Identifier: AGPL-3.0-or-later
"""A store in memory: behaves as `testyard.ports.Store` says, and notes what was asked in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import StoreError


@dataclass(frozen=True)
class Stored:
    """One object."""

    content: bytes
    content_type: str | None = None
    content_encoding: str | None = None
    expire_after: int | None = None


class MemoryStore:
    """``away`` makes every call fail, as a store does that cannot be reached."""

    def __init__(self) -> None:
        self.acls: dict[str, str] = {}
        self.objects: dict[tuple[str, str], Stored] = {}
        self.written: list[str] = []
        self.away = False

    def ensure_container(self, container: str, *, read_acl: str = "") -> None:
        self._reach()
        self.acls.setdefault(container, read_acl)

    def create_container(self, container: str) -> bool:
        self._reach()
        missing = container not in self.acls
        self.acls.setdefault(container, "")
        return missing

    def read_acl(self, container: str) -> str:
        self._reach()
        return self.acls[container]

    def set_read_acl(self, container: str, acl: str) -> None:
        self._reach()
        self.acls[container] = acl

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
        self._reach()
        if container not in self.acls:
            raise StoreError(f"store: no container {container}")
        data = content if isinstance(content, bytes) else content.read_bytes()
        self.objects[container, name] = Stored(data, content_type, content_encoding, expire_after)
        self.written.append(name)

    def get(self, container: str, name: str) -> bytes | None:
        self._reach()
        found = self.objects.get((container, name))
        return found.content if found else None

    def names(
        self, container: str, *, prefix: str = "", delimiter: str = "", marker: str = ""
    ) -> Sequence[str]:
        self._reach()
        found = set()
        for place, name in self.objects:
            if place == container and name.startswith(prefix):
                head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
                found.add(prefix + head + cut if delimiter else name)
        return tuple(sorted(name for name in found if name > marker))

    def containers(self, *, prefix: str = "") -> Sequence[str]:
        self._reach()
        return tuple(sorted(name for name in self.acls if name.startswith(prefix)))

    def delete(self, container: str, name: str) -> None:
        self._reach()
        self.objects.pop((container, name), None)

    def _reach(self) -> None:
        if self.away:
            raise StoreError("store: cannot be reached")
