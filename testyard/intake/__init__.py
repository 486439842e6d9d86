# SPDX-License-Identifier: AGPL-3.0-or-later
"""The doors by which requests come in: who asks, what they may, and what was asked (docs/intake.md)."""

from testyard.intake.engine import create_intake, intake_engine
from testyard.intake.identity import ANONYMOUS, Identity, Scope

__all__ = ["ANONYMOUS", "Identity", "Scope", "create_intake", "intake_engine"]
