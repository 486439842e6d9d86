# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queue names, both ways: context, release and architecture ↔ ``debci-…``.

``debci-<release>-<arch>`` is the context ``ubuntu`` (the name has no infix, for old clients);
``debci-<context>-<release>-<arch>`` are the others. Neither part ever holds a ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from testyard.errors import RequestError

DEFAULT_CONTEXT = "ubuntu"
#: What waits here is run before all else.
URGENT = "urgent"
CONTEXTS = ("ubuntu", "huge", "ppa", "upstream", URGENT, "install", "group")

#: Bodies that can never work end here, with the reason in their headers.
DEAD_LETTERS = "testyard-dead"

_PART = re.compile(r"[a-z0-9][a-z0-9._]*")


@dataclass(frozen=True, order=True)
class QueueName:
    """Where a request waits."""

    context: str
    release: str
    architecture: str

    def __post_init__(self) -> None:
        if self.context not in CONTEXTS:
            raise RequestError("context", f"{self.context!r} is none of {', '.join(CONTEXTS)}")
        for name in ("release", "architecture"):
            part = getattr(self, name)
            if not _PART.fullmatch(part) or ".." in part:
                raise RequestError(name, f"{part!r} must be small letters and digits")

    def __str__(self) -> str:
        infix = "" if self.context == DEFAULT_CONTEXT else f"{self.context}-"
        return f"debci-{infix}{self.release}-{self.architecture}"

    @classmethod
    def parse(cls, name: str) -> QueueName:
        """Read a queue's name; raises RequestError if it is none of ours."""
        parts = name.split("-")
        if parts[0] == "debci" and len(parts) == 3:
            return cls(DEFAULT_CONTEXT, parts[1], parts[2])
        if parts[0] == "debci" and len(parts) == 4 and parts[1] != DEFAULT_CONTEXT:
            return cls(parts[1], parts[2], parts[3])
        raise RequestError("queue", f"{name!r} is not debci-[context-]release-architecture")


def all_queues(
    contexts: Iterable[str], releases: Iterable[str], architectures: Iterable[str]
) -> tuple[QueueName, ...]:
    """The queue of every combination. Raises RequestError if a name is no good."""
    return tuple(QueueName(*parts) for parts in product(contexts, releases, architectures))
