# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of how much the intake takes of one identity and one address."""

from __future__ import annotations

from pydantic import Field

from testyard.section import Section


class Rates(Section):
    """Requests that are taken: so many at once, and from then on so many a minute."""

    identity_burst: int = Field(default=500, ge=1, description="requests of one identity at once")
    identity_per_minute: float = Field(default=60, gt=0, description="… and a minute from then on")
    address_burst: int = Field(default=1000, ge=1, description="requests from one address at once")
    address_per_minute: float = Field(default=120, gt=0, description="… and a minute from then on")


class Launchpad(Section):
    """Where a policy's `uploader`, and teams of Launchpad, are asked for."""

    url: str = Field(
        default="https://api.launchpad.net/devel",
        description="its web service, without a slash at the end; empty: not asked",
    )
    distribution: str = Field(default="ubuntu", pattern="^[a-z0-9][a-z0-9.+-]*$")
    provider: str = Field(
        default="launchpad", description="whose people it knows: the first part of their identities"
    )
