# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ports."""

from __future__ import annotations

import json
from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import Service
from tests.openstack.provider.services.plain import Networking
from tests.openstack.provider.values import Values


def _extra(wanted: Values) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if wanted.get("no_security_groups"):
        extra["security_group_ids"] = []
    elif wanted.get("security_group_ids") is not None:
        extra["security_group_ids"] = wanted["security_group_ids"]
    if wanted.get("no_fixed_ip"):
        extra["fixed_ips"] = []
    elif wanted.get("fixed_ip"):
        extra["fixed_ips"] = [{key: one[key] for key in one if one[key]} for one in wanted["fixed_ip"]]
    if wanted.get("allowed_address_pairs"):
        extra["allowed_address_pairs"] = [
            {key: one[key] for key in one if one[key]} for one in wanted["allowed_address_pairs"]
        ]
    if wanted.get("extra_dhcp_option"):
        extra["extra_dhcp_opts"] = [
            {"opt_name": one["name"], "opt_value": one["value"], "ip_version": one["ip_version"] or 4}
            for one in wanted["extra_dhcp_option"]
        ]
    for binding in wanted.get("binding") or []:
        asked = {
            "binding_host_id": binding.get("host_id"),
            "binding_vnic_type": binding.get("vnic_type"),
            "binding_profile": json.loads(binding.get("profile") or "null"),
        }
        extra |= {key: value for key, value in asked.items() if value}
    return extra


def _observe(connection: Connection, found: Any) -> Values:
    binding = {
        "host_id": found.binding_host_id,
        "profile": json.dumps(found.binding_profile or {}),
        "vif_details": {key: str(value) for key, value in (found.binding_vif_details or {}).items()},
        "vif_type": found.binding_vif_type,
        "vnic_type": found.binding_vnic_type,
    }
    return {
        "all_fixed_ips": [one["ip_address"] for one in found.fixed_ips or []],
        "all_security_group_ids": sorted(found.security_group_ids or []),
        "dns_assignment": [
            {key: str(value) for key, value in one.items()} for one in found.dns_assignment or []
        ],
        # host_id is None for whoever may not see it
        "binding": [binding] if found.binding_vnic_type else [],
    }


_FACTS = Facts(
    replaces="network_id mac_address tenant_id device_owner device_id value_specs",
    computed_blocks="binding",
    defaults={"extra_dhcp_option.ip_version": 4, "binding.vnic_type": "normal"},
    conflicts=("fixed_ip no_fixed_ip", "security_group_ids no_security_groups"),
)
_PORT = Networking(
    "port",
    {
        "network_id": "network_id",
        "name": "name",
        "description": "description",
        "admin_state_up": "is_admin_state_up",
        "mac_address": "mac_address",
        "tenant_id": "project_id",
        "device_owner": "device_owner",
        "device_id": "device_id",
        "port_security_enabled": "is_port_security_enabled",
        "dns_name": "dns_name",
        "qos_policy_id": "qos_policy_id",
    },
    extra=_extra,
    observe=_observe,
)
SERVICE = Service({"networking_port_v2": _PORT.resource(_FACTS)})
