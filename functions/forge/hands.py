# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the work on deliveries reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from testyard.adapters.forges import Forges
from testyard.event import Event
from testyard.intake.gate import Gate
from testyard.intake.identity import Identity
from testyard.intake.projects import Projects
from testyard.intake.submit import Door
from testyard.ports import Store
from testyard.settings import Settings


@dataclass(frozen=True)
class Hands:
    """All that the work reaches. ``later`` puts a delivery off; ``tell`` sends events;
    ``ensure`` makes the tables."""

    settings: Settings
    memory: Engine
    index: Engine
    door: Door
    gate: Gate
    store: Store
    projects: Callable[[], Projects]
    forges: Forges
    later: Callable[[bytes], None]
    tell: Callable[[Sequence[Event]], None]
    ensure: Callable[[], None]


class RefusedError(Exception):
    """Nothing is asked for, and why. ``who`` has given a command that is none of theirs."""

    def __init__(self, reason: str, who: Identity | None = None) -> None:
        super().__init__(reason)
        self.who = who
