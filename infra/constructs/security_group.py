# SPDX-License-Identifier: AGPL-3.0-or-later
"""A security group with the rules for what may come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from cdktf_cdktf_provider_openstack.networking_secgroup_rule_v2 import NetworkingSecgroupRuleV2
from cdktf_cdktf_provider_openstack.networking_secgroup_v2 import NetworkingSecgroupV2
from constructs import Construct


class SecurityGroup(Construct):
    """Lets in what it is told to and nothing else; out goes everything (OpenStack's default rules).

    ``key`` is the group's terraform address, ``name`` what OpenStack shows. The addresses do not
    depend on the construct's place in the tree: moving it must not replace a group in use.
    """

    def __init__(
        self, scope: Construct, key: str, *, name: str, description: str, tags: Sequence[str]
    ) -> None:
        super().__init__(scope, f"{key}-group")
        self.key = key
        self.group = NetworkingSecgroupV2(self, "group", name=name, description=description, tags=list(tags))
        self.group.override_logical_id(key)

    def let_in(self, *rules: Ingress) -> SecurityGroup:
        """Add rules; returns itself."""
        for rule in rules:
            self._allow(rule)
        return self

    def _allow(self, rule: Ingress) -> None:
        network = not isinstance(rule.source, SecurityGroup)
        resource = NetworkingSecgroupRuleV2(
            self,
            rule.name,
            security_group_id=self.group.id,
            description=rule.name,
            direction="ingress",
            ethertype=f"IPv{rule.source.version}" if not isinstance(rule.source, SecurityGroup) else "IPv4",
            protocol="tcp",
            port_range_min=rule.port,
            port_range_max=rule.last or rule.port,
            remote_ip_prefix=str(rule.source) if network else None,
            remote_group_id=rule.source.group.id if isinstance(rule.source, SecurityGroup) else None,
        )
        resource.override_logical_id(f"{self.key}_{rule.name}")


@dataclass(frozen=True)
class Ingress:
    """One TCP port, or those up to ``last``, opened to one network or to the members of one group.

    ``name`` is unique in its group: it is the rule's address.
    """

    name: str
    port: int
    source: IPv4Network | IPv6Network | SecurityGroup
    last: int | None = None
