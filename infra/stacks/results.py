# SPDX-License-Identifier: AGPL-3.0-or-later
"""Containers of the object store: of results, which everybody may read, and of what nobody else may."""

from __future__ import annotations

from cdktf_cdktf_provider_openstack.objectstorage_container_v1 import ObjectstorageContainerV1
from constructs import Construct

from infra.settings import Region, Settings, Stage
from infra.stacks.base import RegionStack
from testyard.inventory import INVENTORY
from testyard.store import CLAIMS, PUBLIC_READ, container_name


class ResultsStack(RegionStack):
    """What workers would make themselves at the first run, made beforehand, and watched by ``plan``."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "results", settings=settings, region=region)
        readers = PUBLIC_READ if settings.results.public else None
        names = [container_name(release) for release in settings.topology.releases]
        names += [
            f"{container_name(release)}-{archive}"
            for archive in settings.results.archives
            for release in settings.topology.releases
        ]
        for name in names:
            self._contain(name, readers)
        for name in (CLAIMS, INVENTORY):
            self._contain(name, None)
        self.publish("containers", names, "containers of results")
        self.publish("inventory", INVENTORY, "container of the inventories of LXD hosts")

    def _contain(self, name: str, readers: str | None) -> None:
        ObjectstorageContainerV1(
            self,
            name,
            name=name,
            container_read=readers,
            # a devel stage is thrown away with all that is in it
            force_destroy=self.settings.stage is Stage.DEVEL,
            lifecycle=self.kept_in_production(),
        ).override_logical_id(name.replace(".", "_"))
