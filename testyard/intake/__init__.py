# SPDX-License-Identifier: AGPL-3.0-or-later
"""The doors by which requests come in: who asks, what they may, and what was asked (docs/intake.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testyard.intake.identity import ANONYMOUS, Identity, Scope

if TYPE_CHECKING:
    from testyard.intake.engine import create_intake, intake_engine

__all__ = ["ANONYMOUS", "Identity", "Scope", "create_intake", "intake_engine"]


def __getattr__(name: str) -> Any:
    # only when asked for: the webhook function has no database, and SQLAlchemy takes 0.4 s and 30 MB
    if name in ("create_intake", "intake_engine"):
        from testyard.intake import engine  # noqa: PLC0415

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
