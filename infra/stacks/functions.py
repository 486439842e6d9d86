# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instances of the functions, with fixed addresses, behind the balancer."""

from __future__ import annotations

from constructs import Construct

from infra.cloud_init.service import functions
from infra.constructs.instance import Kind, instance, publish_instances, spread
from infra.settings import Region, Settings, addresses
from infra.stacks.base import RegionStack


class FunctionsStack(RegionStack):
    """Nothing on them is kept, so they may be made anew one after the other while the others answer."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "functions", settings=settings, region=region)
        wanted = settings.functions
        kind = Kind(
            "functions",
            wanted.flavor,
            settings.services.architecture,
            groups=("ssh", "services"),
            hints=spread(self, "functions") if wanted.count > 1 else None,
        )
        made = []
        for number, address in enumerate(addresses.functions(region.subnet, wanted.count), 1):
            name = f"functions-{number}"
            node = instance(self, kind, name, functions(settings, number), address=address)
            made.append((name, "functions", node))
        publish_instances(self, made)
