# SPDX-License-Identifier: AGPL-3.0-or-later
"""An address within and one without, which stay when what has them is made anew."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from cdktf_cdktf_provider_openstack.networking_floatingip_associate_v2 import NetworkingFloatingipAssociateV2
from cdktf_cdktf_provider_openstack.networking_floatingip_v2 import NetworkingFloatingipV2
from cdktf_cdktf_provider_openstack.networking_port_v2 import NetworkingPortV2, NetworkingPortV2FixedIp

from infra.stacks.base import RegionStack
from infra.stacks.network import NetworkStack


class FloatingPort:
    """A port with a fixed address and, if it is ``public``, a floating one."""

    def __init__(
        self,
        stack: RegionStack,
        network: NetworkStack,
        name: str,
        *,
        address: IPv4Address,
        groups: Sequence[str],
        public: bool = True,
    ) -> None:
        port = NetworkingPortV2(
            stack,
            f"{name}-port",
            name=f"{stack.prefix}-{name}",
            network_id=network.network.id,
            fixed_ip=[NetworkingPortV2FixedIp(subnet_id=network.subnet.id, ip_address=str(address))],
            security_group_ids=[network.groups[group].group.id for group in groups],
            admin_state_up=True,
            tags=stack.tags,
        )
        self.id: str = port.id
        self.public: str = ""
        if public:
            self.public = public_address(stack, name, port.id)


def public_address(stack: RegionStack, name: str, port: str) -> str:
    """A floating address that leads to a port."""
    floating = NetworkingFloatingipV2(
        stack,
        f"{name}-address",
        pool=stack.region.external_network,
        description=f"{stack.prefix}-{name}",
        tags=stack.tags,
        lifecycle=stack.kept_in_production(),
    )
    NetworkingFloatingipAssociateV2(stack, f"{name}-association", floating_ip=floating.address, port_id=port)
    return str(floating.address)
