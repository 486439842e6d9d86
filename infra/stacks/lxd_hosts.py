# SPDX-License-Identifier: AGPL-3.0-or-later
"""LXD hosts of a region, and the inventory by which workers find them."""

from __future__ import annotations

from typing import Any

from cdktf import Fn
from cdktf_cdktf_provider_openstack.compute_instance_v2 import (
    ComputeInstanceV2,
    ComputeInstanceV2SchedulerHints,
)
from cdktf_cdktf_provider_openstack.objectstorage_object_v1 import ObjectstorageObjectV1
from cdktf_cdktf_provider_openstack.provider import OpenstackProvider
from constructs import Construct

from infra.cloud_init.lxd_host import LXD_PORT, lxd_host
from infra.constructs.instance import Kind, beside, instance, publish_instances, spread
from infra.settings import LxdHosts, Region, Settings
from infra.settings.sharing import shares
from infra.settings.sizes import BIG, SMALL
from infra.stacks.base import RegionStack
from testyard.inventory import INVENTORY, object_name


class LxdHostsStack(RegionStack):
    """A host more is one instance more, and another text of the inventory; nothing is made anew."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "lxd-hosts", settings=settings, region=region)
        self.hosts: dict[str, tuple[LxdHosts, ComputeInstanceV2]] = {}
        for group in region.lxd_hosts:
            self._make(group)
        publish_instances(self, [(name, "lxd-host", made) for name, (_, made) in self.hosts.items()])
        self.publish("lxd_remotes", self._remotes(), "architecture: address: slots")
        content = {"remotes": self._remotes(), "workers": self._workers()}
        ObjectstorageObjectV1(
            self,
            "inventory",
            container_name=INVENTORY,
            name=object_name(region.name),
            content=Fn.jsonencode(content),
            content_type="application/json",
            provider=self._store(),
        )

    def _store(self) -> OpenstackProvider | None:
        """The results' store, which is in the home region, is the one that all workers have."""
        home = self.settings.home
        if self.region is home:
            return None
        return OpenstackProvider(self, "home", alias="home", cloud=home.cloud, region=home.name)

    def _make(self, group: LxdHosts) -> None:
        kind = Kind("lxd-host", group.flavor, group.machine, groups=("ssh", "lxd"), hints=self._hints(group))
        for number in range(1, group.count + 1):
            name = f"{group.name}-{number}"
            self.hosts[name] = (group, instance(self, kind, name, lxd_host(self.settings, group, name)))

    def _hints(self, group: LxdHosts) -> ComputeInstanceV2SchedulerHints:
        # apart from each other and all beside one contradict each other
        return beside(group.same_host) if group.same_host else spread(self, group.name)

    def _remotes(self) -> dict[str, Any]:
        """By architecture a list of addresses and slots: a key of a map cannot be known later."""
        found: dict[str, Any] = {}
        for group, made in self.hosts.values():
            for architecture in group.architectures:
                found.setdefault(str(architecture), []).append(
                    {"address": made.access_ip_v4, "slots": group.slots}
                )
        return {
            architecture: Fn.zipmap([row["address"] for row in rows], [row["slots"] for row in rows])
            for architecture, rows in found.items()
        }

    def _workers(self) -> dict[str, list[dict[str, Any]]]:
        return {
            worker: [self._host(name) for name in names]
            for worker, names in shares(self.settings, self.region).items()
        }

    def _host(self, name: str) -> dict[str, Any]:
        """A table of ``worker.hosts``, without certificates."""
        group, made = self.hosts[name]
        small, big = self.settings.flavors.sizes[SMALL], self.settings.flavors.sizes[BIG]
        return {
            "name": name,
            "address": f"https://{made.access_ip_v4}:{LXD_PORT}",
            "slots": group.slots,
            "architectures": [str(each) for each in group.architectures],
            "releases": list(group.releases or self.settings.topology.releases),
            "cpus": small.cpus,
            "memory": small.ram * 1024,
            "disk": small.disk,
            "big_cpus": big.cpus,
            "big_memory": big.ram * 1024,
            "big_disk": big.disk,
        }
