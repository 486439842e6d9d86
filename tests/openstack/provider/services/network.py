# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks, subnets, security groups and their rules."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import Resource, Service, given, when_free
from tests.openstack.provider.services.plain import Networking
from tests.openstack.provider.values import Values

_NETWORK_FACTS = Facts(
    replaces="tenant_id value_specs availability_zone_hints transparent_vlan",
    computed_blocks="segments",
)
_NETWORK = Networking(
    "network",
    {
        "name": "name",
        "description": "description",
        "admin_state_up": "is_admin_state_up",
        "shared": "is_shared",
        "external": "is_router_external",
        "tenant_id": "project_id",
        "mtu": "mtu",
        "dns_domain": "dns_domain",
        "port_security_enabled": "is_port_security_enabled",
        "availability_zone_hints": "availability_zone_hints",
        "qos_policy_id": "qos_policy_id",
        "transparent_vlan": "is_vlan_transparent",
    },
)


def _subnet_extra(wanted: Values) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if wanted.get("no_gateway"):
        extra["gateway_ip"] = None
    if wanted.get("allocation_pool"):
        extra["allocation_pools"] = [
            {"start": pool["start"], "end": pool["end"]} for pool in wanted["allocation_pool"]
        ]
    # an empty list, too, so that servers can be taken away
    extra["dns_nameservers"] = list(wanted.get("dns_nameservers") or [])
    return extra


def _observe_subnet(connection: Connection, found: Any) -> Values:
    pools = [{"start": pool["start"], "end": pool["end"]} for pool in found.allocation_pools or []]
    return {
        "allocation_pool": pools,
        "dns_nameservers": list(found.dns_nameservers or []),
        "no_gateway": found.gateway_ip is None,
    }


_SUBNET_FACTS = Facts(
    replaces=(
        "network_id cidr prefix_length tenant_id ip_version ipv6_address_mode ipv6_ra_mode"
        " subnetpool_id value_specs"
    ),
    defaults={"ip_version": 4, "enable_dhcp": True, "no_gateway": False},
    computed_blocks="allocation_pool",
    conflicts=("cidr prefix_length", "gateway_ip no_gateway"),
)
_SUBNET = Networking(
    "subnet",
    {
        "network_id": "network_id",
        "cidr": "cidr",
        "name": "name",
        "description": "description",
        "tenant_id": "project_id",
        "ip_version": "ip_version",
        "enable_dhcp": "is_dhcp_enabled",
        "gateway_ip": "gateway_ip",
        "ipv6_address_mode": "ipv6_address_mode",
        "ipv6_ra_mode": "ipv6_ra_mode",
        "subnetpool_id": "subnet_pool_id",
        "service_types": "service_types",
    },
    extra=_subnet_extra,
    observe=_observe_subnet,
)

_GROUP_FACTS = Facts(replaces="tenant_id delete_default_rules")
_GROUP = Networking(
    "security_group",
    {
        "name": "name",
        "description": "description",
        "tenant_id": "project_id",
        "stateful": "stateful",
    },
)


def _create_group(connection: Connection, wanted: Values) -> Values:
    made = _GROUP.create(connection, wanted)
    if wanted.get("delete_default_rules"):
        for rule in connection.network.security_group_rules(security_group_id=made["id"]):
            connection.network.delete_security_group_rule(rule)
    return made


_RULE_FIELDS = {
    "direction": "direction",
    "ethertype": "ether_type",
    "security_group_id": "security_group_id",
    "description": "description",
    "protocol": "protocol",
    "port_range_min": "port_range_min",
    "port_range_max": "port_range_max",
    "remote_ip_prefix": "remote_ip_prefix",
    "remote_group_id": "remote_group_id",
    "tenant_id": "project_id",
}


def _create_rule(connection: Connection, wanted: Values) -> Values:
    return {"id": connection.network.create_security_group_rule(**given(wanted, _RULE_FIELDS)).id}


def _read_rule(connection: Connection, state: Values) -> Values:
    found = connection.network.get_security_group_rule(state["id"])
    return {name: getattr(found, sdk, None) for name, sdk in _RULE_FIELDS.items()}


def _delete_rule(connection: Connection, state: Values) -> None:
    when_free(lambda: connection.network.delete_security_group_rule(state["id"], ignore_missing=False))


SERVICE = Service(
    {
        "networking_network_v2": _NETWORK.resource(_NETWORK_FACTS),
        "networking_subnet_v2": _SUBNET.resource(_SUBNET_FACTS),
        "networking_secgroup_v2": Resource(
            _GROUP_FACTS, _create_group, _GROUP.read, _GROUP.delete, _GROUP.update, _GROUP.ready
        ),
        "networking_secgroup_rule_v2": Resource(
            Facts(
                replaces=(
                    "direction ethertype security_group_id description protocol port_range_min port_range_max"
                    " remote_ip_prefix remote_group_id tenant_id"
                ),
                conflicts=("remote_ip_prefix remote_group_id",),
            ),
            _create_rule,
            _read_rule,
            _delete_rule,
        ),
    }
)
