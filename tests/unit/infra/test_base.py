# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.settings import Settings, load_settings

Synth = Callable[[Settings], dict[str, dict[str, Any]]]


def test_one_stack_per_region_each_with_its_own_cloud(synth: Synth) -> None:
    stacks = synth(load_settings("production"))
    assert {name: stack["provider"]["openstack"] for name, stack in stacks.items()} == {
        "network-north": [{"cloud": "testyard-north", "region": "north"}],
        "network-south": [{"cloud": "testyard-south", "region": "south"}],
    }


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
