# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from infra.settings import AdminNetwork, Settings, load_settings
from tests.unit.infra.parsed import outputs, resources

Stack = dict[str, Any]
Synth = Callable[[Settings], dict[str, Stack]]


Rule = tuple[str, str, int, int, str, str]


def rules(stack: Stack) -> set[Rule]:
    """What may come in: group, protocol, first and last port, address family, network or group."""
    return {
        (
            rule["security_group_id"].split(".")[1],
            rule["protocol"],
            rule["port_range_min"],
            rule["port_range_max"],
            rule["ethertype"],
            rule.get("remote_ip_prefix") or rule["remote_group_id"].split(".")[1],
        )
        for rule in stack["resource"]["openstack_networking_secgroup_rule_v2"].values()
    }


def tcp(group: str, port: int, source: str, *, last: int | None = None, family: str = "IPv4") -> Rule:
    return (group, "tcp", port, last or port, family, source)


INSIDE = {tcp("lxd", 8443, "workers"), tcp("testbeds", 22, "workers")}
SERVICES = {
    tcp("broker", 5671, "workers"),
    tcp("broker", 5671, "services"),
    tcp("database", 5432, "services"),
    tcp("services", 8001, "balancer", last=8006),
    tcp("services", 8080, "balancer"),
}


@pytest.fixture
def devel(synth: Synth) -> Stack:
    return synth(load_settings("devel"))["network-RegionOne"]


def test_exactly_these_resources(devel: Stack) -> None:
    groups = ("ssh", "workers", "lxd", "testbeds", "broker", "database", "services", "balancer")
    found = {name for name in resources(devel) if "secgroup_rule" not in name}
    assert found == {
        "networking_network_v2.network",
        "networking_subnet_v2.subnet",
        "networking_router_v2.router",
        "networking_router_interface_v2.router_interface",
        *(f"networking_secgroup_v2.{group}" for group in groups),
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
        "allocation_pool": [{"start": "10.44.0.64", "end": "10.44.0.254"}],
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
    assert {key: value for key, value in external.items() if key != "//"} == {
        "name": "external-network",
        "external": True,
    }


def test_name_servers_are_handed_to_the_subnet(synth: Synth) -> None:
    settings = load_settings("devel").model_dump()
    settings["regions"][0]["dns"] = ["192.0.2.53"]
    stack = synth(Settings.model_validate(settings))["network-RegionOne"]
    assert resources(stack)["networking_subnet_v2.subnet"]["dns_nameservers"] == ["192.0.2.53"]


def test_exactly_these_rules(synth: Synth) -> None:
    stacks = synth(load_settings("production"))
    ssh = {tcp("ssh", 22, "192.0.2.10/32"), tcp("ssh", 22, "2001:db8:10::/64", family="IPv6")}
    outside = {tcp("broker", 5671, "198.51.100.0/28"), tcp("broker", 5671, "203.0.113.20/32")}
    nodes = {
        tcp("broker", 4369, "broker"),
        tcp("broker", 25672, "broker"),
        tcp("broker", 35672, "broker", last=35682),
    }
    people = {
        tcp("balancer", port, everyone, family=family)
        for port in (80, 443)
        for everyone, family in (("0.0.0.0/0", "IPv4"), ("::/0", "IPv6"))
    }
    assert rules(stacks["network-north"]) == ssh | INSIDE | SERVICES | outside | nodes | people
    assert rules(stacks["network-south"]) == ssh | INSIDE


def test_a_site_that_is_not_public_is_for_the_admin_networks(devel: Stack) -> None:
    admins = {tcp("ssh", 22, "10.20.20.0/24"), tcp("balancer", 80, "10.20.20.0/24")}
    assert rules(devel) == INSIDE | SERVICES | admins


@pytest.mark.parametrize("stage", ["devel", "staging", "production"])
def test_rules_only_let_in_and_everyone_only_to_the_balancer(synth: Synth, stage: str) -> None:
    settings = load_settings(stage)
    for name, stack in synth(settings).items():
        found = stack.get("resource", {}).get("openstack_networking_secgroup_rule_v2", {})
        assert bool(found) == name.startswith("network-")
        assert {rule["direction"] for rule in found.values()} <= {"ingress"}
        everyone = {
            rule["security_group_id"].split(".")[1]
            for rule in found.values()
            if "remote_ip_prefix" in rule and not ip_network(rule["remote_ip_prefix"]).prefixlen
        }
        assert everyone <= ({"balancer"} if settings.balancer.public else set())


def test_everyone_may_use_ssh_where_the_settings_say_so_and_lxd_never(synth: Synth) -> None:
    everyone = AdminNetwork.model_validate({"name": "everyone", "prefix": "0.0.0.0/0"})
    settings = load_settings("devel").model_copy(update={"admin_networks": (everyone,)})
    found = rules(synth(settings)["network-RegionOne"])
    assert tcp("ssh", 22, "0.0.0.0/0") in found
    assert {rule for rule in found if rule[0] == "lxd"} == {tcp("lxd", 8443, "workers")}


def test_outputs_are_the_contract(devel: Stack) -> None:
    groups = ("ssh", "workers", "lxd", "testbeds", "broker", "database", "services", "balancer")
    assert outputs(devel) == {
        "network_id": "${openstack_networking_network_v2.network.id}",
        "subnet_id": "${openstack_networking_subnet_v2.subnet.id}",
        "router_id": "${openstack_networking_router_v2.router.id}",
        **{f"{group}_group_id": f"${{openstack_networking_secgroup_v2.{group}.id}}" for group in groups},
    }
