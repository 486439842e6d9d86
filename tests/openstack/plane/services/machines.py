# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stands for the hypervisor: Nova's own fake driver, made fit for a restart and for two architectures."""

from __future__ import annotations

import uuid
from typing import Any

from nova import context, objects
from nova.compute import power_state
from nova.objects import fields
from nova.virt import fake

_ALIVE = frozenset(("active", "stopped", "paused", "suspended", "resized"))
_ARCHITECTURES = {"amd64": fields.Architecture.X86_64, "arm64": fields.Architecture.AARCH64}


class PlaneDriver(fake.FakeDriver):  # type: ignore[misc]
    """Hosts are called ``NAME-ARCHITECTURE-NUMBER`` and say which images they can run."""

    def init_host(self, host: str) -> None:
        """Read this host's machines back: the fake driver keeps them in memory only."""
        super().init_host(host)
        for found in objects.InstanceList.get_by_host(context.get_admin_context(), host):
            if found.vm_state in _ALIVE:
                state = found.power_state or power_state.RUNNING
                self.instances[found.uuid] = fake.FakeInstance(found.name, state, found.uuid)
                flavor = found.flavor
                self.resources.claim(vcpus=flavor.vcpus, mem=flavor.memory_mb, disk=flavor.root_gb)

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        """The same ids at each start; random ones would be second records of the same hosts."""
        return {node_id(name): name for name in self.get_available_nodes()}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        """What the fake driver says, with this host's id and architecture."""
        architecture = _ARCHITECTURES[nodename.split("-")[-2]]
        runs = (architecture, fields.HVType.FAKE, fields.VMMode.HVM)
        found = super().get_available_resource(nodename)
        return {**found, "uuid": node_id(nodename), "supported_instances": [runs]}

    def get_host_uptime(self) -> str:
        """Something that Nova can read."""
        return " 12:00:00 up 1 day,  0 users,  load average: 0.00, 0.00, 0.00"


def node_id(name: str) -> str:
    """A host's uuid, from its name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
