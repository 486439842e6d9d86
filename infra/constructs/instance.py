# SPDX-License-Identifier: AGPL-3.0-or-later
"""An instance, as all stacks make theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_openstack.blockstorage_volume_v3 import BlockstorageVolumeV3
from cdktf_cdktf_provider_openstack.compute_instance_v2 import (
    ComputeInstanceV2,
    ComputeInstanceV2Network,
    ComputeInstanceV2SchedulerHints,
)
from cdktf_cdktf_provider_openstack.compute_servergroup_v2 import ComputeServergroupV2
from cdktf_cdktf_provider_openstack.compute_volume_attach_v2 import ComputeVolumeAttachV2
from cdktf_cdktf_provider_openstack.data_openstack_images_image_v2 import DataOpenstackImagesImageV2

from infra.cloud_init.document import template_escaped
from infra.settings.base import Architecture
from infra.stacks.base import RegionStack


@dataclass(frozen=True)
class Kind:
    """What the instances of a group have in common.

    ``groups`` are names of security groups without the stage's prefix. ``follow_image``: a newer image
    of that name rebuilds them; else only a new instance has it.
    """

    kind: str
    size: str
    machine: Architecture
    groups: tuple[str, ...]
    worker: bool = False
    follow_image: bool = False
    hints: ComputeInstanceV2SchedulerHints | None = None


def image(stack: RegionStack, kind: Kind) -> DataOpenstackImagesImageV2:
    """The newest image for a kind; looked up once in a stack."""
    key = f"image-{'worker-' if kind.worker else ''}{kind.machine}"
    found = stack.node.try_find_child(key)
    if not isinstance(found, DataOpenstackImagesImageV2):
        name = stack.settings.image(stack.region, kind.machine, worker=kind.worker)
        found = DataOpenstackImagesImageV2(stack, key, name=name, most_recent=True)
    return found


def spread(stack: RegionStack, key: str) -> ComputeInstanceV2SchedulerHints:
    """Hints by which instances stand on different hosts of the cloud, as far as there are some."""
    group = ComputeServergroupV2(
        stack, f"{key}-group", name=f"{stack.prefix}-{key}", policies=["soft-anti-affinity"]
    )
    return ComputeInstanceV2SchedulerHints(group=group.id)


def beside(instance: str) -> ComputeInstanceV2SchedulerHints:
    """Hints by which instances stand on the same host of the cloud as another one."""
    return ComputeInstanceV2SchedulerHints(same_host=[instance])


def instance(
    stack: RegionStack,
    kind: Kind,
    name: str,
    user_data: str,
    *,
    address: IPv4Address | None = None,
    port: str | None = None,
) -> ComputeInstanceV2:
    """An instance ``NAME`` with an address of the pool, the given one, or that of a port.

    Its terraform address is ``NAME``: the number of others does not change it.
    """
    # no text of ours is a token, so the document is escaped as a whole
    network = (
        ComputeInstanceV2Network(port=port)
        if port
        else ComputeInstanceV2Network(
            name=f"{stack.prefix}-network", fixed_ip_v4=str(address) if address else None
        )
    )
    kept = ["key_pair"] if kind.follow_image else ["key_pair", "image_id"]
    made = ComputeInstanceV2(
        stack,
        name,
        name=f"{stack.prefix}-{name}",
        flavor_name=stack.settings.flavors.name(kind.size, kind.machine),
        image_id=image(stack, kind).id,
        key_pair=f"{stack.prefix}",
        network=[network],
        # a port has its own
        security_groups=None if port else [f"{stack.prefix}-{group}" for group in kind.groups],
        scheduler_hints=[kind.hints] if kind.hints else None,
        user_data=template_escaped(user_data),
        metadata={"testyard-stage": stack.settings.stage, "testyard-kind": kind.kind, "testyard-name": name},
        tags=[*stack.tags, f"kind={kind.kind}"],
        # who has the first key is no reason to make an instance anew
        lifecycle=TerraformResourceLifecycle(ignore_changes=kept),
    )
    made.override_logical_id(name)
    return made


def data_volume(stack: RegionStack, of: ComputeInstanceV2, name: str, size: int) -> BlockstorageVolumeV3:
    """A volume that outlives its instance; in production nothing removes it but a person."""
    volume = BlockstorageVolumeV3(
        stack,
        f"{name}-data",
        name=f"{stack.prefix}-{name}-data",
        description=f"data of {name}",
        size=size,
        enable_online_resize=True,
        metadata={"testyard-stage": stack.settings.stage, "testyard-name": name},
        lifecycle=stack.kept_in_production(),
    )
    ComputeVolumeAttachV2(stack, f"{name}-attachment", instance_id=of.id, volume_id=volume.id)
    return volume


def publish_instances(stack: RegionStack, made: Sequence[tuple[str, str, ComputeInstanceV2]]) -> None:
    """Output ``instances``: name → kind, address and id; who gets which secrets goes by it."""
    value = {
        name: {"kind": kind, "address": found.access_ip_v4, "id": found.id} for name, kind, found in made
    }
    stack.publish("instances", value, "name of each instance: kind, address, id")
