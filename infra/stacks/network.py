# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network of a region: everything else there stands in it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from cdktf_cdktf_provider_openstack.data_openstack_networking_network_v2 import (
    DataOpenstackNetworkingNetworkV2,
)
from cdktf_cdktf_provider_openstack.networking_network_v2 import NetworkingNetworkV2
from cdktf_cdktf_provider_openstack.networking_router_interface_v2 import NetworkingRouterInterfaceV2
from cdktf_cdktf_provider_openstack.networking_router_v2 import NetworkingRouterV2
from cdktf_cdktf_provider_openstack.networking_subnet_v2 import (
    NetworkingSubnetV2,
    NetworkingSubnetV2AllocationPool,
)
from constructs import Construct

from infra.cloud_init.broker import AMQPS_PORT
from infra.cloud_init.common import FRONT_PORT, PORTS, WEB_PORT
from infra.cloud_init.database import POSTGRESQL_PORT
from infra.cloud_init.lxd_host import LXD_PORT
from infra.constructs.security_group import Ingress, SecurityGroup
from infra.settings import Region, Settings, addresses
from infra.stacks.base import RegionStack

SSH_PORT = 22
#: Erlang's name server, and what nodes of the broker and their command line talk by.
_ERLANG = {"names": (4369, 4369), "nodes": (25672, 25672), "tools": (35672, 35682)}
_EVERYWHERE = {
    "ssh": "ssh from the admin networks",
    "workers": "workers; others let them in",
    "lxd": "the LXD API from the workers",
    "testbeds": "instances that tests run in: ssh from the workers",
}
_HOME = {
    "broker": "AMQP over TLS from workers, services and the named clients",
    "database": "PostgreSQL from functions and site",
    "services": "functions and site, from the balancer",
    "balancer": "HTTP for people and programs",
}


class NetworkStack(RegionStack):
    """Network, subnet, router to the outside, and the security groups of all that stands in it."""

    def __init__(self, scope: Construct, *, settings: Settings, region: Region) -> None:
        super().__init__(scope, "network", settings=settings, region=region)
        self.network = NetworkingNetworkV2(
            self, "network", name=f"{self.prefix}-network", admin_state_up=True, tags=self.tags
        )
        first, last = addresses.pool(region.subnet)
        self.subnet = NetworkingSubnetV2(
            self,
            "subnet",
            name=f"{self.prefix}-subnet",
            network_id=self.network.id,
            ip_version=4,
            cidr=str(region.subnet),
            allocation_pool=[NetworkingSubnetV2AllocationPool(start=str(first), end=str(last))],
            dns_nameservers=[str(address) for address in region.dns] or None,
            tags=self.tags,
        )
        self.router = self._route_out(region)
        self.groups = self._groups(region, home=region is settings.home)
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

    def _groups(self, region: Region, *, home: bool) -> dict[str, SecurityGroup]:
        groups = {key: self._group(key, text) for key, text in _EVERYWHERE.items()}
        groups["ssh"].let_in(*self._admins("ssh", SSH_PORT))
        groups["lxd"].let_in(Ingress("workers", LXD_PORT, groups["workers"]))
        groups["testbeds"].let_in(Ingress("workers", SSH_PORT, groups["workers"]))
        if home:
            groups |= {key: self._group(key, text) for key, text in _HOME.items()}
            self._let_services_in(groups, region)
        return groups

    def _let_services_in(self, groups: dict[str, SecurityGroup], region: Region) -> None:
        settings, broker, services = self.settings, groups["broker"], groups["services"]
        outside = settings.broker.clients
        broker.let_in(
            Ingress("workers", AMQPS_PORT, groups["workers"]),
            Ingress("services", AMQPS_PORT, services),
            *(Ingress(f"client-{each.name}", AMQPS_PORT, each.prefix) for each in outside),
        )
        if settings.broker.nodes > 1:
            broker.let_in(*(Ingress(name, first, broker, last) for name, (first, last) in _ERLANG.items()))
        groups["database"].let_in(Ingress("services", POSTGRESQL_PORT, services))
        # octavia asks from addresses of the subnet's own
        front = region.subnet if settings.balancer.kind == "octavia" else groups["balancer"]
        services.let_in(
            Ingress("functions", min(PORTS.values()), groups["balancer"], max(PORTS.values())),
            Ingress("site", WEB_PORT, groups["balancer"]),
            *((Ingress("front", FRONT_PORT, front),) if settings.balancer.kind == "octavia" else ()),
        )
        for port in (80,) if settings.balancer.tls == "none" else (80, 443):
            groups["balancer"].let_in(*self._visitors(port))

    def _visitors(self, port: int) -> list[Ingress]:
        if not self.settings.balancer.public:
            return self._admins(f"admin-{port}", port)
        return [
            Ingress(f"everyone-{port}-v{everyone.version}", port, everyone)
            for everyone in (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
        ]

    def _admins(self, name: str, port: int) -> list[Ingress]:
        """The rules of ssh are named by the networks alone."""
        return [
            Ingress(admin.name if name == "ssh" else f"{name}-{admin.name}", port, admin.prefix)
            for admin in self.settings.admin_networks
        ]

    def _group(self, key: str, description: str) -> SecurityGroup:
        return SecurityGroup(self, key, name=f"{self.prefix}-{key}", description=description, tags=self.tags)

    def _publish_ids(self) -> None:
        self.publish("network_id", self.network.id, "the network that all instances stand in")
        self.publish("subnet_id", self.subnet.id, "the network's subnet")
        self.publish("router_id", self.router.id, "the router that leads outside")
        for key, group in self.groups.items():
            self.publish(
                f"{key}_group_id", group.group.id, f"security group: {group.group.description_input}"
            )
