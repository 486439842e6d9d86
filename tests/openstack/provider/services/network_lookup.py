# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks and subnets that are there already."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.kinds import DataSource, Service, given, only_one
from tests.openstack.provider.values import Values

_NETWORK_QUERY = {
    "name": "name",
    "description": "description",
    "status": "status",
    "external": "is_router_external",
    "tenant_id": "project_id",
    "mtu": "mtu",
}
_SUBNET_QUERY = {
    "name": "name",
    "description": "description",
    "network_id": "network_id",
    "tenant_id": "project_id",
    "ip_version": "ip_version",
    "gateway_ip": "gateway_ip",
    "cidr": "cidr",
    "dhcp_enabled": "is_dhcp_enabled",
    "ipv6_address_mode": "ipv6_address_mode",
    "ipv6_ra_mode": "ipv6_ra_mode",
    "subnetpool_id": "subnet_pool_id",
}


def _network(connection: Connection, config: Values) -> Values:
    asked = given(config, _NETWORK_QUERY)
    if config.get("network_id"):
        asked["id"] = config["network_id"]
    found = [_network_values(one) for one in connection.network.networks(**asked) if _has_tags(one, config)]
    if config.get("matching_subnet_cidr"):
        cidr = config["matching_subnet_cidr"]
        found = [one for one in found if list(connection.network.subnets(network_id=one["id"], cidr=cidr))]
    return only_one(found, "networking_network_v2")


def _has_tags(found: Any, config: Values) -> bool:
    return set(config.get("tags") or []) <= set(found.tags or [])


def _network_values(found: Any) -> Values:
    return {
        "id": found.id,
        "network_id": found.id,
        "name": found.name,
        "description": found.description,
        "tenant_id": found.project_id,
        "status": found.status,
        "external": found.is_router_external,
        "admin_state_up": str(found.is_admin_state_up).lower(),
        "shared": str(found.is_shared).lower(),
        "mtu": found.mtu,
        "dns_domain": found.dns_domain or "",
        "availability_zone_hints": sorted(found.availability_zone_hints or []),
        "subnets": sorted(found.subnet_ids or []),
        "all_tags": sorted(found.tags or []),
    }


def _subnet(connection: Connection, config: Values) -> Values:
    asked = given(config, _SUBNET_QUERY)
    if config.get("subnet_id"):
        asked["id"] = config["subnet_id"]
    found = [one for one in connection.network.subnets(**asked) if _has_tags(one, config)]
    return only_one([_subnet_values(one) for one in found], "networking_subnet_v2")


def _subnet_values(found: Any) -> Values:
    values = {name: getattr(found, sdk, None) for name, sdk in _SUBNET_QUERY.items()}
    return {
        **values,
        "id": found.id,
        "subnet_id": found.id,
        "enable_dhcp": found.is_dhcp_enabled,
        "allocation_pools": [
            {"start": pool["start"], "end": pool["end"]} for pool in found.allocation_pools or []
        ],
        "dns_nameservers": sorted(found.dns_nameservers or []),
        "host_routes": [
            {"destination_cidr": route["destination"], "next_hop": route["nexthop"]}
            for route in found.host_routes or []
        ],
        "service_types": list(found.service_types or []),
        "all_tags": sorted(found.tags or []),
    }


SERVICE = Service(
    {}, {"networking_network_v2": DataSource(_network), "networking_subnet_v2": DataSource(_subnet)}
)
