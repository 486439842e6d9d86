# SPDX-License-Identifier: AGPL-3.0-or-later
"""Workers of a region; nothing connects to them, so any address will do."""

from __future__ import annotations

from constructs import Construct

from infra.cloud_init.worker import worker
from infra.constructs.instance import Kind, instance, publish_instances, spread
from infra.settings import Region, Settings, Workers
from infra.settings.sharing import worker_name
from infra.stacks.base import RegionStack


class WorkersStack(RegionStack):
    """A newer image of their own rebuilds them; a newer one of everybody's does not."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "workers", settings=settings, region=region)
        made = []
        for group in region.worker_groups:
            if not group.count:
                continue
            kind = self._kind(group)
            for number in range(1, group.count + 1):
                name = worker_name(region, group, number)
                text = worker(settings, region, group, name)
                made.append((name, "worker", instance(self, kind, name, text)))
        publish_instances(self, made)

    def _kind(self, group: Workers) -> Kind:
        return Kind(
            "worker",
            group.flavor,
            group.machine,
            groups=("ssh", "workers"),
            worker=True,
            follow_image=bool(self.settings.images.worker),
            hints=spread(self, group.name) if group.count > 1 else None,
        )
