# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database: an instance with a fixed address, and a volume."""

from __future__ import annotations

from constructs import Construct

from infra.cloud_init.common import DATABASE
from infra.cloud_init.database import database
from infra.constructs.instance import Kind, data_volume, instance, publish_instances
from infra.settings import Region, Settings, addresses
from infra.stacks.base import RegionStack


class DatabaseStack(RegionStack):
    """What it holds of the index can be made again from the store; tokens and the audit log cannot."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "database", settings=settings, region=region)
        wanted, address = settings.database, addresses.database(region.subnet)
        kind = Kind("database", wanted.flavor, settings.services.architecture, groups=("ssh", "database"))
        made = instance(self, kind, "database", database(settings), address=address)
        data_volume(self, made, "database", wanted.volume)
        publish_instances(self, [("database", "database", made)])
        self.publish("database_address", str(address), "within the region")
        self.publish("database_name", DATABASE, "by which functions and site know it")
