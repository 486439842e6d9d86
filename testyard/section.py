# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all sections of the settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen; what it does not know is an error."""

    # no input in errors: a secret of the wrong type would be shown
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
