# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from infra.settings import AdminNetwork, Settings, load_settings

Stack = dict[str, Any]
Synth = Callable[[Settings], dict[str, Stack]]


def properties(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource without cdktf's own notes."""
    return {key: value for key, value in resource.items() if key != "//"}


def resources(stack: Stack) -> dict[str, dict[str, Any]]:
    """All resources by terraform address, ``openstack_`` left out."""
    return {
        f"{kind.removeprefix('openstack_')}.{name}": properties(body)
        for kind, named in stack["resource"].items()
        for name, body in named.items()
    }


def rules(stack: Stack) -> set[tuple[str, str, int, int, str, str]]:
    """What may come in: group, protocol, first and last port, address family, network."""
    return {
        (
            rule["security_group_id"].split(".")[1],
            rule["protocol"],
            rule["port_range_min"],
            rule["port_range_max"],
            rule["ethertype"],
            rule["remote_ip_prefix"],
        )
        for rule in stack["resource"]["openstack_networking_secgroup_rule_v2"].values()
    }


@pytest.fixture
def devel(synth: Synth) -> Stack:
    return synth(load_settings("devel"))["network-RegionOne"]


def test_exactly_these_resources(devel: Stack) -> None:
    assert set(resources(devel)) == {
        "networking_network_v2.network",
        "networking_subnet_v2.subnet",
        "networking_router_v2.router",
        "networking_router_interface_v2.router_interface",
        "networking_secgroup_v2.ssh",
        "networking_secgroup_v2.lxd",
        "networking_secgroup_rule_v2.ssh_bridge",
        "networking_secgroup_rule_v2.lxd_subnet",
    }


def test_the_subnet_hangs_between_network_and_router(devel: Stack) -> None:
    found = resources(devel)
    tags = ["testyard", "stage=devel"]
    assert found["networking_network_v2.network"] == {
        "name": "testyard-devel-network",
        "admin_state_up": True,
        "tags": tags,
    }
    assert found["networking_subnet_v2.subnet"] == {
        "name": "testyard-devel-subnet",
        "network_id": "${openstack_networking_network_v2.network.id}",
        "ip_version": 4,
        "cidr": "10.44.0.0/24",
        "tags": tags,
    }
    assert found["networking_router_v2.router"] == {
        "name": "testyard-devel-router",
        "admin_state_up": True,
        "external_network_id": "${data.openstack_networking_network_v2.external.id}",
        "tags": tags,
    }
    assert found["networking_router_interface_v2.router_interface"] == {
        "router_id": "${openstack_networking_router_v2.router.id}",
        "subnet_id": "${openstack_networking_subnet_v2.subnet.id}",
    }
    external = devel["data"]["openstack_networking_network_v2"]["external"]
    assert properties(external) == {"name": "external-network", "external": True}


def test_name_servers_are_handed_to_the_subnet(synth: Synth) -> None:
    settings = load_settings("devel").model_dump()
    settings["regions"][0]["dns"] = ["192.0.2.53"]
    stack = synth(Settings.model_validate(settings))["network-RegionOne"]
    assert resources(stack)["networking_subnet_v2.subnet"]["dns_nameservers"] == ["192.0.2.53"]


def test_exactly_these_rules(synth: Synth) -> None:
    stacks = synth(load_settings("production"))
    ssh = {
        ("ssh", "tcp", 22, 22, "IPv4", "192.0.2.10/32"),
        ("ssh", "tcp", 22, 22, "IPv6", "2001:db8:10::/64"),
    }
    assert rules(stacks["network-north"]) == ssh | {("lxd", "tcp", 8443, 8443, "IPv4", "10.46.0.0/20")}
    assert rules(stacks["network-south"]) == ssh | {("lxd", "tcp", 8443, 8443, "IPv4", "10.46.16.0/20")}


@pytest.mark.parametrize("stage", ["devel", "staging", "production"])
def test_rules_only_let_in_and_never_everyone(synth: Synth, stage: str) -> None:
    for stack in synth(load_settings(stage)).values():
        for rule in stack["resource"]["openstack_networking_secgroup_rule_v2"].values():
            assert rule["direction"] == "ingress"
            assert ip_network(rule["remote_ip_prefix"]).prefixlen > 0


def test_everyone_may_use_ssh_where_the_settings_say_so_and_lxd_never(synth: Synth) -> None:
    everyone = AdminNetwork.model_validate({"name": "everyone", "prefix": "0.0.0.0/0"})
    settings = load_settings("devel").model_copy(update={"admin_networks": (everyone,)})
    assert rules(synth(settings)["network-RegionOne"]) == {
        ("ssh", "tcp", 22, 22, "IPv4", "0.0.0.0/0"),
        ("lxd", "tcp", 8443, 8443, "IPv4", "10.44.0.0/24"),
    }


def test_outputs_are_the_contract(devel: Stack) -> None:
    assert {name: output["value"] for name, output in devel["output"].items()} == {
        "network_id": "${openstack_networking_network_v2.network.id}",
        "subnet_id": "${openstack_networking_subnet_v2.subnet.id}",
        "router_id": "${openstack_networking_router_v2.router.id}",
        "ssh_group_id": "${openstack_networking_secgroup_v2.ssh.id}",
        "lxd_group_id": "${openstack_networking_secgroup_v2.lxd.id}",
    }
