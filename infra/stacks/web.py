# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instances of the site, and the balancer before them and the functions."""

from __future__ import annotations

from constructs import Construct

from infra.cloud_init.balancer import balancer
from infra.cloud_init.service import site_url, web
from infra.constructs.cloud_balancer import cloud_balancer
from infra.constructs.floating import FloatingPort, public_address
from infra.constructs.instance import Kind, instance, publish_instances, spread
from infra.settings import Region, Settings, addresses
from infra.stacks.base import RegionStack
from infra.stacks.network import NetworkStack


class WebStack(RegionStack):
    """The balancer's addresses outlive it. Sites are made anew as functions are."""

    def __init__(
        self, scope: Construct, *, settings: Settings, region: Region, network: NetworkStack
    ) -> None:
        super().__init__(scope, "web", settings=settings, region=region)
        wanted = settings.web
        kind = Kind(
            "web",
            wanted.flavor,
            settings.services.architecture,
            groups=("ssh", "services"),
            hints=spread(self, "web") if wanted.count > 1 else None,
        )
        self.made = []
        for number, address in enumerate(addresses.web(region.subnet, wanted.count), 1):
            name = f"web-{number}"
            self.made.append(
                (name, "web", instance(self, kind, name, web(settings, number), address=address))
            )
        public = self._balancer(network) if settings.balancer.kind == "haproxy" else self._octavia(network)
        publish_instances(self, self.made)
        self.publish("site_url", site_url(settings), "what people use")
        self.publish("balancer_address", str(addresses.balancer(region.subnet)), "within the region")
        self.publish("public_address", public, "where balancer.host leads to; empty if it is not public")

    def _balancer(self, network: NetworkStack) -> str:
        wanted = self.settings.balancer
        kind = Kind(
            "balancer", wanted.flavor, self.settings.services.architecture, groups=("ssh", "balancer")
        )
        port = FloatingPort(
            self,
            network,
            "balancer",
            address=addresses.balancer(self.region.subnet),
            groups=kind.groups,
            public=wanted.public,
        )
        made = instance(self, kind, "balancer", balancer(self.settings), port=port.id)
        self.made.append(("balancer", "balancer", made))
        return port.public

    def _octavia(self, network: NetworkStack) -> str:
        port = cloud_balancer(self, network)
        return public_address(self, "balancer", port) if self.settings.balancer.public else ""
