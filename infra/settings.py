# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is to be built: one TOML file per stage, read into frozen, typed settings.

A stage is named (``devel``: the file infra/stages/devel.toml) or given as the path of an
operator's own TOML file. No secret belongs in it: credentials come from clouds.yaml or ``OS_*``,
those of the state store from ``AWS_*``. docs/infra.md lists every key. This module knows nothing
of cdktf, so reading and checking settings needs no node.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, model_validator

from testyard.errors import SettingsError

STAGES = Path(__file__).parent / "stages"

# Both become parts of terraform addresses and stack names. A label has no underscore, which
# joins labels to one address.
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
RegionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]


class Stage(StrEnum):
    """How serious it is."""

    DEVEL = "devel"
    STAGING = "staging"
    PRODUCTION = "production"


class Architecture(StrEnum):
    """Debian's names."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    ARMHF = "armhf"
    I386 = "i386"
    PPC64EL = "ppc64el"
    RISCV64 = "riscv64"
    S390X = "s390x"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StateStore(_Section):
    """A bucket for terraform's state, at any service that speaks S3 with conditional writes."""

    bucket: str = Field(min_length=1)
    endpoint: str = Field(pattern=r"^https://", description="URL of the S3 service")
    region: str = Field(default="us-east-1", description="what the service wants to hear")


class AdminNetwork(_Section):
    """A network from which people may reach ssh. ``prefix`` is IPv4 or IPv6, as 192.0.2.0/24."""

    name: Label
    prefix: IPvAnyNetwork


class Region(_Section):
    """One OpenStack region and what is asked of it."""

    name: RegionName = Field(description="OpenStack's name of the region")
    cloud: str | None = Field(default=None, description="entry of clouds.yaml; without it OS_* count")
    architectures: tuple[Architecture, ...] = Field(min_length=1, description="tested in this region")
    external_network: str = Field(min_length=1, description="name of the network that routers lead to")
    subnet: IPv4Network
    dns: tuple[IPv4Address, ...] = Field(default=(), description="none: what the cloud's DHCP hands out")

    @model_validator(mode="after")
    def _check_architectures(self) -> Self:
        _reject_twice("architectures", self.architectures)
        return self


class Settings(_Section):
    """Everything that the stacks of one stage are made from."""

    stage: Stage
    state_store: StateStore | None = Field(default=None, description="none: files below state/, devel only")
    admin_networks: tuple[AdminNetwork, ...] = Field(min_length=1)
    regions: tuple[Region, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        _reject_twice("admin_networks: name", (network.name for network in self.admin_networks))
        _reject_twice("admin_networks: prefix", (str(network.prefix) for network in self.admin_networks))
        _reject_twice("regions: name", (region.name for region in self.regions))
        if self.state_store is None and self.stage is not Stage.DEVEL:
            raise ValueError(f"state_store: missing, and {self.stage} must not keep its state on one disk")
        return self


def _reject_twice(field: str, values: Iterable[str]) -> None:
    twice = [str(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{field}: given twice: {', '.join(twice)}")


def stage_path(stage: str) -> Path:
    """The file of a stage: ``devel`` is one of ours, ``./mine.toml`` the operator's own.

    Raises SettingsError if there is none.
    """
    own = stage.endswith(".toml")
    path = Path(stage) if own else STAGES / f"{stage}.toml"
    if (own or stage in list(Stage)) and path.is_file():
        return path
    raise SettingsError(
        f"stage: no {'file' if own else 'stage'} {stage!r}",
        resolution=f"Name one of {', '.join(Stage)}, or a TOML file of your own.",
    )


def load_settings(stage: str) -> Settings:
    """Read the settings of ``stage``.

    Raises SettingsError that names the file and every wrong field, as ``regions.0.subnet``.
    """
    path = stage_path(stage)
    try:
        return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise SettingsError(f"{path.name}: wrong settings", details=_explain(error)) from error
    except ValueError as error:
        raise SettingsError(f"{path.name}: not a TOML file", details=str(error)) from error


def _explain(error: ValidationError) -> str:
    """A line per wrong field. A list that is too short because its items are wrong has none."""
    errors = error.errors()
    inner = {e["loc"][:depth] for e in errors for depth in range(len(e["loc"]))}
    return "\n".join(
        ": ".join(filter(None, [".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")]))
        for e in errors
        if e["type"] != "too_short" or e["loc"] not in inner
    )
