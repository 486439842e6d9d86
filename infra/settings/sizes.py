# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sizes of instances, and what flavors of these sizes are called."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pydantic import Field, field_validator

from infra.settings.base import Architecture, Label, Section

#: What tests of common packages, and of those on the list ``big_packages``, run in.
SMALL, BIG = "small", "big"


class Size(Section):
    """What an instance has."""

    cpus: int = Field(ge=1, le=256)
    ram: int = Field(ge=1, le=4096, description="GiB")
    disk: int = Field(ge=4, le=16384, description="GiB of the root disk")
    ephemeral: int = Field(default=0, ge=0, le=16384, description="GiB of a second disk that is lost with it")


_DEFAULTS = MappingProxyType(
    {
        SMALL: Size(cpus=2, ram=4, disk=20),
        BIG: Size(cpus=4, ram=8, disk=100),
        "lxd": Size(cpus=8, ram=16, disk=160),
        "worker": Size(cpus=4, ram=8, disk=80),
        "data": Size(cpus=2, ram=8, disk=20),
        "service": Size(cpus=2, ram=4, disk=20),
    }
)


class Flavors(Section):
    """Named ``cpuN-ramN-diskN-ARCH``, with ``-ephemeralN`` before ARCH if they have such a disk."""

    create: bool = Field(default=True, description="false: the cloud has them; making them takes an admin")
    public: bool = Field(default=False, description="whether other projects see those that are made")
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,40}$", description="before each name")
    sizes: dict[Label, Size] = Field(
        default_factory=lambda: dict(_DEFAULTS), description="beside, or in place of, those that there are"
    )

    @field_validator("sizes", mode="before")
    @classmethod
    def _add_defaults(cls, given: Any) -> Any:
        return {**_DEFAULTS, **given} if isinstance(given, dict) else given

    def name(self, size: str, architecture: Architecture) -> str:
        """The name of a size's flavor for machines of an architecture."""
        wanted = self.sizes[size]
        extra = f"-ephemeral{wanted.ephemeral}" if wanted.ephemeral else ""
        return f"{self.prefix}cpu{wanted.cpus}-ram{wanted.ram}-disk{wanted.disk}{extra}-{architecture}"
