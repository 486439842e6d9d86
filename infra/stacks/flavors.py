# SPDX-License-Identifier: AGPL-3.0-or-later
"""Flavors of a region: of what stands there, and of the testbeds."""

from __future__ import annotations

from cdktf_cdktf_provider_openstack.compute_flavor_v2 import ComputeFlavorV2
from constructs import Construct

from infra.settings import Region, Settings
from infra.settings.needs import flavors
from infra.settings.sizes import BIG, SMALL
from infra.stacks.base import RegionStack


class FlavorsStack(RegionStack):
    """Making flavors takes an admin; where the cloud has them, there is no such stack."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "flavors", settings=settings, region=region)
        for name, size in flavors(settings, region).items():
            ComputeFlavorV2(
                self,
                name,
                name=name,
                vcpus=size.cpus,
                ram=size.ram * 1024,
                disk=size.disk,
                ephemeral=size.ephemeral or None,
                is_public=settings.flavors.public,
                description="made by Testyard's deployment",
            )
        testbeds = {
            size: {str(each): settings.flavors.name(size, each) for each in region.machines}
            for size in (SMALL, BIG)
        }
        self.publish("testbeds", testbeds, "flavors of testbeds: size of a package, architecture, name")
