# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening what the intake remembers."""

from __future__ import annotations

from sqlalchemy import Engine

from testyard.index.engine import create_tables, index_engine
from testyard.intake.schema import metadata
from testyard.settings import Settings


def intake_engine(settings: Settings) -> Engine:
    """An engine for `intake.database`, or the index's; not reached for yet. Raises SettingsError."""
    return index_engine(intake_url(settings), writer=True)


def intake_url(settings: Settings) -> str:
    """The database's address, with its password."""
    return settings.intake.database.get_secret_value() or settings.database.url.get_secret_value()


def create_intake(engine: Engine) -> None:
    """Make the tables that are missing; others may do so at the same time. Raises TestyardError."""
    create_tables(engine, metadata)
