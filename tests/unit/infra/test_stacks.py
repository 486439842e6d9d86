# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the stacks beside the network consist of, in terraform's own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.cloud_init.document import template_escaped
from infra.cloud_init.lxd_host import lxd_host
from infra.cloud_init.service import web
from infra.settings import Settings, load_settings
from tests.unit.infra.parsed import outputs, resources

Stack = dict[str, Any]
Synth = Callable[[Settings], dict[str, Stack]]


def changed(stage: str, **values: Any) -> Settings:
    """The settings of a stage with other values at the top."""
    return Settings.model_validate({**load_settings(stage).model_dump(), **values})


def with_hosts(count: int, *, workers: int = 2) -> Settings:
    """Staging with so many LXD hosts."""
    found = load_settings("staging").model_dump()
    found["regions"][0]["lxd"][0]["count"] = count
    found["regions"][0]["workers"][2]["count"] = workers
    return Settings.model_validate(found)


@pytest.fixture
def staging(synth: Synth) -> dict[str, Stack]:
    return synth(load_settings("staging"))


@pytest.fixture
def production(synth: Synth) -> dict[str, Stack]:
    return synth(load_settings("production"))


def test_an_instance(staging: dict[str, Stack]) -> None:
    settings = load_settings("staging")
    made = resources(staging["lxd-hosts-north"])["compute_instance_v2.armhf-1"]
    assert made.pop("user_data") == template_escaped(
        lxd_host(settings, settings.regions[0].lxd_hosts[0], "armhf-1")
    )
    assert made == {
        "name": "testyard-staging-armhf-1",
        "flavor_name": "cpu8-ram16-disk160-arm64",
        "image_id": "${data.openstack_images_image_v2.image-arm64.id}",
        "key_pair": "testyard-staging",
        "network": [{"name": "testyard-staging-network"}],
        "security_groups": ["testyard-staging-ssh", "testyard-staging-lxd"],
        "scheduler_hints": [{"group": "${openstack_compute_servergroup_v2.armhf-group.id}"}],
        "metadata": {"testyard-stage": "staging", "testyard-kind": "lxd-host", "testyard-name": "armhf-1"},
        "tags": ["testyard", "stage=staging", "kind=lxd-host"],
        "lifecycle": {"ignore_changes": ["key_pair", "image_id"]},
    }
    image = staging["lxd-hosts-north"]["data"]["openstack_images_image_v2"]["image-arm64"]
    assert (image["name"], image["most_recent"]) == ("debian-12-genericcloud-arm64", True)


def test_lxd_hosts_stand_apart_or_beside_another(synth: Synth, staging: dict[str, Stack]) -> None:
    group = resources(staging["lxd-hosts-north"])["compute_servergroup_v2.armhf-group"]
    assert group["policies"] == ["soft-anti-affinity"]
    found = load_settings("staging").model_dump()
    neighbour = "2e838a71-f6d9-46c4-94f9-dd0c6a2632fe"
    found["regions"][0]["lxd"][0]["same_host"] = neighbour
    stack = resources(synth(Settings.model_validate(found))["lxd-hosts-north"])
    assert stack["compute_instance_v2.armhf-2"]["scheduler_hints"] == [{"same_host": [neighbour]}]
    assert not [name for name in stack if "servergroup" in name]


def test_a_host_more_is_one_instance_more_and_changes_no_other(synth: Synth) -> None:
    three, four = (synth(with_hosts(count)) for count in (3, 4))
    assert three.keys() == four.keys()
    before, after = (
        {
            f"{name} {address}": body
            for name, stack in stacks.items()
            for address, body in resources(stack).items()
        }
        for stacks in (three, four)
    )
    assert after.keys() - before.keys() == {"lxd-hosts-north compute_instance_v2.armhf-4"}
    assert {address for address in before if before[address] != after[address]} == {
        "lxd-hosts-north objectstorage_object_v1.inventory"
    }


def test_the_inventory_names_each_host_once(synth: Synth) -> None:
    stack = synth(with_hosts(3))["lxd-hosts-north"]
    inventory = resources(stack)["objectstorage_object_v1.inventory"]
    assert (inventory["container_name"], inventory["name"]) == ("testyard-inventory", "lxd/north.json")
    text = inventory["content"]
    first, second = text.index('"north-lxd-1"'), text.index('"north-lxd-2"')
    assert text.count("https://") == 3
    for host, place in (("armhf-1", first), ("armhf-3", first), ("armhf-2", second)):
        address = f"https://${{openstack_compute_instance_v2.{host}.access_ip_v4}}:8443"
        assert (text.index(address) > second) == (place == second)


def test_remotes_are_an_output(staging: dict[str, Stack]) -> None:
    found = outputs(staging["lxd-hosts-north"])
    assert set(found) == {"instances", "lxd_remotes"}
    hosts = ", ".join(f"openstack_compute_instance_v2.armhf-{n}.access_ip_v4" for n in (1, 2))
    assert found["lxd_remotes"] == {"armhf": f"${{zipmap([{hosts}], [3, 3])}}"}
    assert found["instances"]["armhf-1"] == {
        "kind": "lxd-host",
        "address": "${openstack_compute_instance_v2.armhf-1.access_ip_v4}",
        "id": "${openstack_compute_instance_v2.armhf-1.id}",
    }


def test_the_inventory_of_another_region_is_in_the_store_of_all(synth: Synth) -> None:
    found = load_settings("production").model_dump()
    found["regions"][1]["architectures"] = ["armhf"]
    stack = synth(Settings.model_validate(found))["lxd-hosts-south"]
    assert resources(stack)["objectstorage_object_v1.inventory"]["provider"] == "openstack.home"
    assert {"alias": "home", "cloud": "testyard-north", "region": "north"} in stack["provider"]["openstack"]


def test_without_hosts_the_inventory_says_so(synth: Synth) -> None:
    text = resources(synth(with_hosts(0))["lxd-hosts-north"])["objectstorage_object_v1.inventory"]["content"]
    assert text == '${jsonencode({"remotes" = {}, "workers" = {"north-lxd-1" = [], "north-lxd-2" = []}})}'


def test_workers_have_addresses_of_the_pool_and_their_own_names(production: dict[str, Stack]) -> None:
    found = resources(production["workers-north"])
    made = {name.partition(".")[2]: body for name, body in found.items() if "compute_instance" in name}
    assert len(made) == 8 + 4 + 2
    assert {json.dumps(body["network"]) for body in made.values()} == {
        '[{"name": "testyard-production-network"}]'
    }
    assert 'name = \\"north-lxd-2\\"' in made["north-lxd-2"]["user_data"].replace("\\\\", "\\")
    assert {tuple(body["security_groups"]) for body in made.values()} == {
        ("testyard-production-ssh", "testyard-production-workers")
    }


def test_only_an_image_of_their_own_rebuilds_workers(synth: Synth) -> None:
    worker = "compute_instance_v2.regionone-amd64-1"
    for image, kept in (("", ["key_pair", "image_id"]), ("testyard-worker-{architecture}", ["key_pair"])):
        stack = synth(changed("devel", images={"worker": image}))["workers-RegionOne"]
        assert resources(stack)[worker]["lifecycle"] == {"ignore_changes": kept}


def test_a_broker_of_three_with_addresses_for_those_outside(production: dict[str, Stack]) -> None:
    found = resources(production["broker-north"])
    assert found["networking_port_v2.broker-2-port"]["fixed_ip"][0]["ip_address"] == "10.46.0.11"
    instance = found["compute_instance_v2.broker-2"]
    assert instance["network"] == [{"port": "${openstack_networking_port_v2.broker-2-port.id}"}]
    assert "security_groups" not in instance
    assert found["blockstorage_volume_v3.broker-3-data"]["size"] == 50
    attached = found["compute_volume_attach_v2.broker-3-attachment"]
    assert attached["instance_id"] == "${openstack_compute_instance_v2.broker-3.id}"
    assert found["networking_floatingip_associate_v2.broker-1-association"] == {
        "floating_ip": "${openstack_networking_floatingip_v2.broker-1-address.address}",
        "port_id": "${openstack_networking_port_v2.broker-1-port.id}",
    }
    shown = outputs(production["broker-north"])
    assert shown["broker_addresses"] == ["10.46.0.10", "10.46.0.11", "10.46.0.12"]
    assert len(shown["public_addresses"]) == 3


def test_a_broker_of_one_within_its_region(staging: dict[str, Stack]) -> None:
    found = resources(staging["broker-north"])
    assert set(found) == {
        "compute_instance_v2.broker-1",
        "blockstorage_volume_v3.broker-1-data",
        "compute_volume_attach_v2.broker-1-attachment",
    }
    network = found["compute_instance_v2.broker-1"]["network"]
    assert network == [{"name": "testyard-staging-network", "fixed_ip_v4": "10.45.0.10"}]


def test_functions_and_sites_have_their_addresses(production: dict[str, Stack]) -> None:
    for stack, kind, expected in (
        ("functions-north", "functions", ["10.46.0.20", "10.46.0.21"]),
        ("web-north", "web", ["10.46.0.40", "10.46.0.41", "10.46.0.42"]),
        ("database-north", "database", ["10.46.0.13"]),
    ):
        made = [
            body
            for name, body in sorted(resources(production[stack]).items())
            if name.startswith(f"compute_instance_v2.{kind}")
        ]
        assert [body["network"][0]["fixed_ip_v4"] for body in made] == expected


def test_the_balancer_keeps_its_addresses(synth: Synth, staging: dict[str, Stack]) -> None:
    found = resources(staging["web-north"])
    assert found["networking_port_v2.balancer-port"]["fixed_ip"][0]["ip_address"] == "10.45.0.14"
    assert outputs(staging["web-north"])["public_address"].startswith("${openstack_networking_floatingip_v2.")
    assert outputs(staging["web-north"])["site_url"] == "https://testyard.staging.example.com"
    devel = synth(load_settings("devel"))["web-RegionOne"]
    assert not [name for name in resources(devel) if "floating" in name]
    assert outputs(devel)["public_address"] == ""


def test_the_cloud_s_balancer(synth: Synth) -> None:
    balancer = {
        "kind": "octavia",
        "host": "a.example",
        "tls": "files",
        "certificate_ref": "https://b.example/1",
    }
    settings = changed("production", balancer={**balancer, "public": True})
    stack = synth(settings)["web-north"]
    found = resources(stack)
    assert found["lb_loadbalancer_v2.balancer"]["vip_address"] == "10.46.0.14"
    assert found["lb_listener_v2.listener"]["protocol"] == "TERMINATED_HTTPS"
    assert [found[f"lb_member_v2.member-{n}"]["address"] for n in (1, 2, 3)] == [
        "10.46.0.40",
        "10.46.0.41",
        "10.46.0.42",
    ]
    assert "compute_instance_v2.balancer" not in found
    # who answers what is decided by HAProxy on each of them
    assert "bind :8000" in web(settings, 1)
    assert "bind :8000" not in web(load_settings("production"), 1)


def test_results_can_be_read_by_everybody_and_claims_by_nobody(synth: Synth) -> None:
    settings = changed("staging", results={"archives": ["team-ppa"]})
    containers = resources(synth(settings)["results-north"])
    readers = {body["name"]: body.get("container_read") for body in containers.values()}
    public = [
        f"autopkgtest-{release}{archive}"
        for release in ("bookworm", "trixie", "sid")
        for archive in ("", "-team-ppa")
    ]
    assert readers == {
        **dict.fromkeys(public, ".r:*,.rlistings"),
        "testyard-claims": None,
        "testyard-inventory": None,
    }


def test_results_are_private_where_the_settings_say_so(synth: Synth) -> None:
    containers = resources(synth(changed("devel", results={"public": False}))["results-RegionOne"])
    assert {body.get("container_read") for body in containers.values()} == {None}


def test_flavors(staging: dict[str, Stack]) -> None:
    made = resources(staging["flavors-north"])["compute_flavor_v2.cpu8-ram16-disk160-arm64"]
    assert (made["vcpus"], made["ram"], made["disk"], made["is_public"]) == (8, 16384, 160, False)
    assert outputs(staging["flavors-north"])["testbeds"]["big"] == {
        "amd64": "cpu4-ram8-disk100-amd64",
        "arm64": "cpu4-ram8-disk100-arm64",
    }


@pytest.mark.parametrize("stage", ["devel", "staging"])
def test_every_flavor_that_is_used_is_made(synth: Synth, stage: str) -> None:
    stacks = synth(load_settings(stage))
    made = {
        body["name"]
        for stack in stacks.values()
        for name, body in resources(stack).items()
        if "flavor" in name
    }
    used = {
        body["flavor_name"]
        for stack in stacks.values()
        for name, body in resources(stack).items()
        if name.startswith("compute_instance_v2")
    }
    assert used <= made


def test_credentials_are_good_for_the_store_alone(staging: dict[str, Stack]) -> None:
    found = resources(staging["identity-north"])
    made = found["identity_application_credential_v3.credential-worker"]
    assert (made["roles"], made["unrestricted"]) == (["member", "reader"], False)
    assert {(rule["service"], rule["path"]) for rule in made["access_rules"]} == {("object-store", "/v1/**")}
    shown = staging["identity-north"]["output"]
    assert {name for name, output in shown.items() if output.get("sensitive")} == {
        "worker_credential_secret",
        "functions_credential_secret",
    }
    assert found["compute_keypair_v2.keypair"]["name"] == "testyard-staging"


def test_users_have_roles_and_no_password(synth: Synth) -> None:
    identity = {"project": "testyard", "users": [{"name": "release-team", "roles": ["reader", "member"]}]}
    stack = synth(changed("staging", identity=identity))["identity-north"]
    found = resources(stack)
    assert "password" not in found["identity_user_v3.user-release-team"]
    assert found["identity_user_v3.user-release-team"]["lifecycle"] == {"ignore_changes": ["password"]}
    assert found["identity_role_assignment_v3.user-release-team-reader"] == {
        "user_id": "${openstack_identity_user_v3.user-release-team.id}",
        "project_id": "${data.openstack_identity_project_v3.project.id}",
        "role_id": "${data.openstack_identity_role_v3.role-reader.id}",
    }


def test_regions_without_services_have_a_key_pair_only(production: dict[str, Stack]) -> None:
    assert set(resources(production["identity-south"])) == {"compute_keypair_v2.keypair"}


@pytest.mark.parametrize("stage", ["devel", "staging", "production"])
def test_every_instance_is_in_its_stack_s_output_and_open_to_ssh(synth: Synth, stage: str) -> None:
    for stack in synth(load_settings(stage)).values():
        made = {
            name.partition(".")[2]: body
            for name, body in resources(stack).items()
            if name.startswith("compute_instance")
        }
        assert set(made) == set(outputs(stack).get("instances", {}))
        for body in made.values():
            assert "port" in body["network"][0] or f"testyard-{stage}-ssh" in body["security_groups"]
            assert len(body["user_data"].encode()) < 48_000


def test_user_data_is_escaped_and_has_no_token(production: dict[str, Stack]) -> None:
    for stack in production.values():
        for name, body in resources(stack).items():
            if name.startswith("compute_instance"):
                text = body["user_data"]
                assert "${" not in text.replace("$${", "")
                assert "%{" not in text.replace("%%{", "")
                assert "TfToken" not in text


def test_order(synth: Synth, tmp_path: Any) -> None:
    synth(load_settings("production"))
    manifest = json.loads((tmp_path / "manifest.json").read_text())["stacks"]
    needs = {name: set(stack["dependencies"]) for name, stack in manifest.items()}
    assert needs["lxd-hosts-north"] == {"network-north", "identity-north", "results-north"}
    assert needs["workers-south"] == {"network-south", "identity-south"}
    assert needs["web-north"] == {"network-north", "identity-north"}
    assert needs["network-south"] == set()
