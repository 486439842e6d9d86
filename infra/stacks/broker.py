# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker: one instance, or a cluster of three, each with a volume."""

from __future__ import annotations

from ipaddress import IPv4Address

from constructs import Construct

from infra.cloud_init.broker import broker
from infra.cloud_init.common import BROKER
from infra.constructs.floating import FloatingPort
from infra.constructs.instance import Kind, data_volume, instance, publish_instances, spread
from infra.settings import Region, Settings, addresses
from infra.stacks.base import RegionStack
from infra.stacks.network import NetworkStack


class BrokerStack(RegionStack):
    """Addresses are fixed. With clients outside each node has a floating one, too, which outlives it."""

    def __init__(
        self, scope: Construct, *, settings: Settings, region: Region, network: NetworkStack
    ) -> None:
        super().__init__(scope, "broker", settings=settings, region=region)
        wanted = settings.broker
        self.kind = Kind(
            "broker",
            wanted.flavor,
            settings.services.architecture,
            groups=("ssh", "broker"),
            hints=spread(self, "broker") if wanted.nodes > 1 else None,
        )
        fixed = addresses.broker(region.subnet, wanted.nodes)
        ports = [self._port(network, number, each) for number, each in enumerate(fixed, 1)]
        made = []
        for number, (address, port) in enumerate(zip(fixed, ports, strict=True), 1):
            name = f"broker-{number}"
            node = instance(
                self,
                self.kind,
                name,
                broker(settings, number),
                address=address,
                port=port.id if port else None,
            )
            data_volume(self, node, name, wanted.volume)
            made.append((name, "broker", node))
        publish_instances(self, made)
        self.publish("broker_addresses", [str(each) for each in fixed], "the nodes within the region")
        self.publish("broker_name", BROKER, "by which instances of the region know them all")
        self.publish(
            "public_addresses", [port.public for port in ports if port], "where broker.host leads to"
        )

    def _port(self, network: NetworkStack, number: int, address: IPv4Address) -> FloatingPort | None:
        if not self.settings.broker.clients:
            return None
        return FloatingPort(self, network, f"broker-{number}", address=address, groups=self.kind.groups)
