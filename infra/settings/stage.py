# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything that the stacks of one stage are made from."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from infra.settings.access import AdminNetwork, Identity, Operator
from infra.settings.base import Architecture, Section, Stage, reject_twice
from infra.settings.region import Region
from infra.settings.services import (
    Balancer,
    Broker,
    Code,
    Database,
    Functions,
    Results,
    Services,
    Topology,
    Web,
)
from infra.settings.sizes import Flavors


class StateStore(Section):
    """A bucket for terraform's state, at any service that speaks S3 with conditional writes."""

    bucket: str = Field(min_length=1)
    endpoint: str = Field(pattern=r"^https://", description="URL of the S3 service")
    region: str = Field(default="us-east-1", description="what the service wants to hear")


class Images(Section):
    """Names of images, the newest of which is taken; ``{architecture}`` is filled in."""

    base: str = Field(
        default="debian-12-genericcloud-{architecture}", description="all but workers; Debian 12 or as good"
    )
    worker: str = Field(default="", description="of workers; empty: base")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("base", "worker"):
            left = getattr(self, field).replace("{architecture}", "")
            if "{" in left or "}" in left:
                raise ValueError(f"{field}: only {{architecture}} is filled in")
        return self


class Settings(Section):
    """Everything that the stacks of one stage are made from."""

    stage: Stage
    state_store: StateStore | None = Field(default=None, description="none: files below state/, devel only")
    admin_networks: tuple[AdminNetwork, ...] = Field(min_length=1)
    operators: tuple[Operator, ...] = Field(min_length=1)
    regions: tuple[Region, ...] = Field(min_length=1)
    topology: Topology = Topology()
    services: Services = Services()
    release: Code | None = None
    flavors: Flavors = Field(default_factory=Flavors)
    images: Images = Images()
    broker: Broker = Broker()
    database: Database = Database()
    functions: Functions = Functions()
    web: Web = Web()
    balancer: Balancer = Balancer()
    identity: Identity = Identity()
    results: Results = Results()

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        reject_twice("admin_networks: name", (network.name for network in self.admin_networks))
        reject_twice("admin_networks: prefix", (str(network.prefix) for network in self.admin_networks))
        reject_twice("operators: name", (operator.name for operator in self.operators))
        reject_twice("regions: name", (region.name for region in self.regions))
        if self.state_store is None and self.stage is not Stage.DEVEL:
            raise ValueError(f"state_store: missing, and {self.stage} must not keep its state on one disk")
        return self

    @property
    def home(self) -> Region:
        """The region of broker, database, functions and site."""
        name = self.services.region
        return next((region for region in self.regions if region.name == name), self.regions[0])

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """All that is tested, wherever."""
        return tuple(dict.fromkeys(each for region in self.regions for each in region.architectures))

    @property
    def prefix(self) -> str:
        """What names in OpenStack begin with."""
        return f"testyard-{self.stage}"

    def image(self, region: Region, architecture: Architecture, *, worker: bool = False) -> str:
        """The name of the image for an instance; empty if none is named."""
        pattern = (self.images.worker if worker else "") or region.images.get(architecture, self.images.base)
        return pattern.format(architecture=architecture)
