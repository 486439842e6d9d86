# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routers and their interfaces."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection
from openstack.exceptions import NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import ProviderError, Resource, Service, when_free
from tests.openstack.provider.services.plain import Networking
from tests.openstack.provider.values import Values


def _gateway(wanted: Values) -> dict[str, Any]:
    outside = wanted.get("external_network_id")
    if not outside:
        return {"external_gateway_info": None}
    gateway: dict[str, Any] = {"network_id": outside}
    if wanted.get("enable_snat") is not None:
        gateway["enable_snat"] = wanted["enable_snat"]
    fixed = [{key: one[key] for key in one if one[key]} for one in wanted.get("external_fixed_ip") or []]
    fixed = fixed or [{"subnet_id": subnet} for subnet in wanted.get("external_subnet_ids") or []]
    if fixed:
        gateway["external_fixed_ips"] = fixed
    return {"external_gateway_info": gateway}


def _observe_gateway(connection: Connection, found: Any) -> Values:
    gateway = found.external_gateway_info or {}
    fixed = gateway.get("external_fixed_ips") or []
    return {
        "external_network_id": gateway.get("network_id") or "",
        "enable_snat": gateway.get("enable_snat"),
        "external_fixed_ip": [
            {"subnet_id": one.get("subnet_id"), "ip_address": one.get("ip_address")} for one in fixed
        ],
    }


_ROUTER_FACTS = Facts(
    replaces="distributed tenant_id value_specs availability_zone_hints",
    computed_blocks="external_fixed_ip",
    defaults={"vendor_options.set_router_gateway_after_create": False},
    conflicts=("external_fixed_ip external_subnet_ids",),
)
_ROUTER = Networking(
    "router",
    {
        "name": "name",
        "description": "description",
        "admin_state_up": "is_admin_state_up",
        "distributed": "is_distributed",
        "tenant_id": "project_id",
        "availability_zone_hints": "availability_zone_hints",
    },
    extra=_gateway,
    observe=_observe_gateway,
)

_OWNERS = (
    "network:router_interface",
    "network:router_interface_distributed",
    "network:ha_router_replicated_interface",
)


def _add_interface(connection: Connection, wanted: Values) -> Values:
    asked = {key: wanted[key] for key in ("subnet_id", "port_id") if wanted.get(key)}
    if len(asked) != 1:
        raise ProviderError("one of subnet_id and port_id must be given")
    answer = connection.network.add_interface_to_router(wanted["router_id"], **asked)
    return {"id": answer["port_id"]}


def _read_interface(connection: Connection, state: Values) -> Values:
    port = connection.network.get_port(state["id"])
    if port.device_owner not in _OWNERS:
        raise NotFoundException(f"port {state['id']} is no router's")
    subnets = [one["subnet_id"] for one in port.fixed_ips or []]
    return {"router_id": port.device_id, "port_id": port.id, "subnet_id": subnets[0] if subnets else None}


def _remove_interface(connection: Connection, state: Values) -> None:
    when_free(lambda: connection.network.remove_interface_from_router(state["router_id"], port=state["id"]))


SERVICE = Service(
    {
        "networking_router_v2": _ROUTER.resource(_ROUTER_FACTS),
        "networking_router_interface_v2": Resource(
            Facts(replaces="router_id subnet_id port_id", defaults={"force_destroy": False}),
            _add_interface,
            _read_interface,
            _remove_interface,
        ),
    }
)
