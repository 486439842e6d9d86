# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of what is asked before a request comes in: how much, who they are, what is published."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

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


class SourceArchive(Section):
    """An archive whose indexes of sources say what is published in a release."""

    url: str = Field(pattern=r"^https?://[^\s@?#]+$", description="its address, without `dists`")
    suites: tuple[str, ...] = Field(
        default=("{release}", "{release}-updates", "{release}-security", "{release}-proposed"),
        description="what belongs to a release; one that is not there holds nothing",
    )
    components: tuple[str, ...] = ("main",)
    releases: tuple[str, ...] = Field(default=(), description="which it is asked for; none named: all")
    keyring: Path | None = Field(
        default=None, description="keys that its InRelease must be signed with, in gpgv's binary form"
    )

    @field_validator("suites")
    @classmethod
    def _name_the_release_only(cls, suites: tuple[str, ...]) -> tuple[str, ...]:
        for suite in suites:
            if re.search(r"[^a-zA-Z0-9./_+-]", suite.replace("{release}", "")):
                raise ValueError("letters, digits and . / _ + - only, and {release}")
        return suites

    def suites_of(self, release: str) -> tuple[str, ...]:
        """Those of a release; none if it is not asked for it."""
        if self.releases and release not in self.releases:
            return ()
        return tuple(suite.replace("{release}", release) for suite in self.suites)
