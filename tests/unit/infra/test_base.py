# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.settings import Settings, load_settings

Synth = Callable[[Settings], dict[str, dict[str, Any]]]


HOME = ("broker", "database", "functions", "results", "web")


def test_each_region_has_its_stacks_and_its_own_cloud(synth: Synth) -> None:
    stacks = synth(load_settings("production"))
    assert set(stacks) == {
        *(f"{kind}-north" for kind in ("network", "identity", "lxd-hosts", "workers", *HOME)),
        *(f"{kind}-south" for kind in ("network", "identity", "workers")),
    }
    for name, stack in stacks.items():
        region = name.rpartition("-")[2]
        assert stack["provider"]["openstack"] == [{"cloud": f"testyard-{region}", "region": region}]


def test_flavors_are_made_only_where_that_is_wanted(synth: Synth) -> None:
    assert {name for name in synth(load_settings("staging")) if name.startswith("flavors")} == {
        "flavors-north"
    }


def test_secrets_are_in_one_state_that_no_stack_reads(synth: Synth) -> None:
    stacks = synth(load_settings("staging"))
    secret = {
        name
        for name, stack in stacks.items()
        for key, output in stack["output"].items()
        if output.get("sensitive") and not key.startswith("cross-stack-output-")
    }
    assert secret == {"identity-north"}
    read = {
        (name, remote["config"]["key"])
        for name, stack in stacks.items()
        for remote in stack.get("data", {}).get("terraform_remote_state", {}).values()
    }
    assert read == {("web-north", "staging/network-north.tfstate")}


def test_what_holds_the_only_copy_is_not_removed_in_production(synth: Synth) -> None:
    kept = ("blockstorage_volume_v3", "objectstorage_container_v1", "networking_floatingip_v2")
    for stage, expected in (("production", True), ("staging", None)):
        found = [
            (body.get("lifecycle") or {}).get("prevent_destroy")
            for stack in synth(load_settings(stage)).values()
            for kind in kept
            for body in stack.get("resource", {}).get(f"openstack_{kind}", {}).values()
        ]
        assert found
        assert set(found) == {expected}


def test_versions(synth: Synth) -> None:
    terraform = synth(load_settings("devel"))["network-RegionOne"]["terraform"]
    assert terraform["required_version"] == ">= 1.10, < 2.0"
    assert terraform["required_providers"] == {
        "openstack": {"source": "terraform-provider-openstack/openstack", "version": "~> 3.4"}
    }


def test_state_in_files_is_below_the_checkout_and_names_no_machine(synth: Synth) -> None:
    terraform = synth(load_settings("devel"))["network-RegionOne"]["terraform"]
    assert terraform["backend"] == {"local": {"path": "../../../state/devel/network-RegionOne.tfstate"}}


def test_state_in_a_bucket_is_locked_and_holds_no_credentials(synth: Synth) -> None:
    s3 = synth(load_settings("staging"))["network-north"]["terraform"]["backend"]["s3"]
    assert s3["bucket"] == "testyard-state-staging"
    assert s3["key"] == "staging/network-north.tfstate"
    assert s3["endpoints"] == {"s3": "https://s3.example.com"}
    assert s3["use_lockfile"] is True
    assert not s3.keys() & {"access_key", "secret_key", "token", "profile"}


def test_no_two_stacks_share_a_state(synth: Synth) -> None:
    stacks = synth(load_settings("production"))
    assert len({stack["terraform"]["backend"]["s3"]["key"] for stack in stacks.values()}) == len(stacks)
