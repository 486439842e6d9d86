# SPDX-License-Identifier: AGPL-3.0-or-later
"""A security group with the rules for what may come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from cdktf_cdktf_provider_openstack.networking_secgroup_rule_v2 import NetworkingSecgroupRuleV2
from cdktf_cdktf_provider_openstack.networking_secgroup_v2 import NetworkingSecgroupV2
from constructs import Construct


@dataclass(frozen=True)
class Ingress:
    """One TCP port opened to one network. ``name`` is unique in the group: it is the rule's address."""

    name: str
    port: int
    prefix: IPv4Network | IPv6Network


class SecurityGroup(Construct):
    """Lets in what ``ingress`` says and nothing else; out goes everything (OpenStack's default rules).

    ``key`` is the group's terraform address, ``name`` what OpenStack shows. The addresses do not
    depend on the construct's place in the tree: moving it must not replace a group in use.
    """

    def __init__(
        self,
        scope: Construct,
        key: str,
        *,
        name: str,
        description: str,
        tags: Sequence[str],
        ingress: Sequence[Ingress],
    ) -> None:
        super().__init__(scope, f"{key}-group")
        self.group = NetworkingSecgroupV2(self, "group", name=name, description=description, tags=list(tags))
        self.group.override_logical_id(key)
        for rule in ingress:
            self._allow(key, rule)

    def _allow(self, key: str, rule: Ingress) -> None:
        resource = NetworkingSecgroupRuleV2(
            self,
            rule.name,
            security_group_id=self.group.id,
            description=rule.name,
            direction="ingress",
            ethertype=f"IPv{rule.prefix.version}",
            protocol="tcp",
            port_range_min=rule.port,
            port_range_max=rule.port,
            remote_ip_prefix=str(rule.prefix),
        )
        resource.override_logical_id(f"{key}_{rule.name}")
