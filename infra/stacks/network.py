# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network of a region: everything else there stands in it."""

from __future__ import annotations

from cdktf_cdktf_provider_openstack.data_openstack_networking_network_v2 import (
    DataOpenstackNetworkingNetworkV2,
)
from cdktf_cdktf_provider_openstack.networking_network_v2 import NetworkingNetworkV2
from cdktf_cdktf_provider_openstack.networking_router_interface_v2 import NetworkingRouterInterfaceV2
from cdktf_cdktf_provider_openstack.networking_router_v2 import NetworkingRouterV2
from cdktf_cdktf_provider_openstack.networking_subnet_v2 import NetworkingSubnetV2
from constructs import Construct

from infra.constructs.security_group import Ingress, SecurityGroup
from infra.settings import Region, Settings
from infra.stacks.base import RegionStack

SSH_PORT = 22
LXD_PORT = 8443


class NetworkStack(RegionStack):
    """Network, subnet, router to the outside, and the security groups ``ssh`` and ``lxd``."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "network", settings=settings, region=region)
        self.network = NetworkingNetworkV2(
            self, "network", name=f"{self.prefix}-network", admin_state_up=True, tags=self.tags
        )
        self.subnet = NetworkingSubnetV2(
            self,
            "subnet",
            name=f"{self.prefix}-subnet",
            network_id=self.network.id,
            ip_version=4,
            cidr=str(region.subnet),
            dns_nameservers=[str(address) for address in region.dns] or None,
            tags=self.tags,
        )
        self.router = self._route_out(region)
        self.ssh = SecurityGroup(
            self,
            "ssh",
            name=f"{self.prefix}-ssh",
            description="ssh from the admin networks",
            tags=self.tags,
            ingress=[Ingress(admin.name, SSH_PORT, admin.prefix) for admin in settings.admin_networks],
        )
        self.lxd = SecurityGroup(
            self,
            "lxd",
            name=f"{self.prefix}-lxd",
            description="the LXD API from the subnet",
            tags=self.tags,
            ingress=[Ingress("subnet", LXD_PORT, region.subnet)],
        )
        self._publish_ids()

    def _route_out(self, region: Region) -> NetworkingRouterV2:
        outside = DataOpenstackNetworkingNetworkV2(
            self, "external", name=region.external_network, external=True
        )
        router = NetworkingRouterV2(
            self,
            "router",
            name=f"{self.prefix}-router",
            admin_state_up=True,
            external_network_id=outside.id,
            tags=self.tags,
        )
        NetworkingRouterInterfaceV2(self, "router_interface", router_id=router.id, subnet_id=self.subnet.id)
        return router

    def _publish_ids(self) -> None:
        self.publish("network_id", self.network.id, "the network that hosts and workers stand in")
        self.publish("subnet_id", self.subnet.id, "the network's subnet")
        self.publish("router_id", self.router.id, "the router that leads outside")
        self.publish("ssh_group_id", self.ssh.group.id, "security group: ssh from the admin networks")
        self.publish("lxd_group_id", self.lxd.group.id, "security group: the LXD API from the subnet")
