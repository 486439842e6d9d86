# SPDX-License-Identifier: AGPL-3.0-or-later
"""`testyard infra plan|deploy|status|destroy`: terraform, the stand-in provider, the control plane."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack.connection import Connection
from typer.testing import CliRunner

from infra.tools.__main__ import app
from tests.openstack.inventory import inventory
from tests.openstack.plane.cloud import Plane
from tests.openstack.terraform import terraform_environment, terraform_program

STAGE = """\
stage = "devel"
[[admin_networks]]
name = "bridge"
prefix = "10.20.20.0/24"
[[operators]]
name = "developer"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAm5CwQsDpPRy1gxunXFWcD5iONwtQ9yoOeMSaIM4cv4 nobody"
[images]
base = "plane-{architecture}"
[[regions]]
name = "RegionOne"
cloud = "plane-admin"
architectures = ["amd64"]
external_network = "public"
subnet = "10.44.0.0/24"
"""
#: The ground of all others: seconds, not minutes.
STACKS = ("network-RegionOne", "flavors-RegionOne")
ONLY = tuple(word for name in STACKS for word in ("--stack", name))


@pytest.fixture
def stage(
    plane: Plane, terraform_rc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A stage's file in a folder of its own, where terraform finds the stand-in."""
    terraform_program()
    for name, value in terraform_environment(terraform_rc).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(plane.clouds_yaml))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "stage.toml"
    path.write_text(STAGE)
    yield path
    told("destroy", str(path), *ONLY, "--yes")


def told(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


def test_from_nothing_to_a_change_and_back(stage: Path, admin: Connection) -> None:
    before = inventory(admin)
    shown = json.loads(told("plan", str(stage), *ONLY, "--json"))["stacks"]
    assert {change["deed"] for changes in shown.values() for change in changes} == {"create"}
    assert inventory(admin) == before, "a plan makes nothing"
    assert "Nothing was done" in told("deploy", str(stage), *ONLY, code=2), "nobody was there to say yes"
    told("deploy", str(stage), *ONLY, "--yes")
    assert [network.name for network in admin.network.networks() if "devel" in network.name]
    again = told("deploy", str(stage), *ONLY, "--yes")
    assert again.count("as it is to be") == len(STACKS)
    found = json.loads(told("status", str(stage), *ONLY, "--json"))["stacks"]
    assert all(found[name]["resources"] for name in STACKS)
    assert found["network-RegionOne"]["outputs"]

    stage.write_text(STAGE.replace("10.20.20.0/24", "10.20.21.0/24"))
    changes = json.loads(told("deploy", str(stage), *ONLY, "--dry-run", "--json"))["stacks"][
        "network-RegionOne"
    ]
    assert {change["deed"] for change in changes} == {"replace"}, "rules of groups do not change in place"
    assert "replace" in told("deploy", str(stage), *ONLY, "--yes")
    told("destroy", str(stage), *ONLY, "--yes")
    assert inventory(admin) == before
    assert told("destroy", str(stage), *ONLY, "--yes").count("no resources deleted") == len(STACKS)


def test_what_would_fail_half_way_is_told_before_anything_is_made(stage: Path, admin: Connection) -> None:
    before = inventory(admin)
    wrong = {
        '"public"': '"outside"',
        'base = "plane-{architecture}"': 'base = "nosuch-{architecture}"',
        'subnet = "10.44.0.0/24"': 'subnet = "10.44.0.0/22"\n[[regions.workers]]\nname = "amd64"\ncount = 60',
    }
    text = STAGE
    for right, instead in wrong.items():
        assert right in text
        text = text.replace(right, instead)
    stage.write_text(text)
    shown = told("deploy", str(stage), *ONLY, "--yes", code=1)
    assert "nothing was made" in shown
    assert "regions.RegionOne.external_network: the cloud has no outside; it has public" in shown
    assert "RegionOne has no image nosuch-amd64; upload one for amd64" in shown
    assert "the quota of instances is 40, others use 0" in shown
    assert inventory(admin) == before
    assert "there is no nosuch" in told("plan", str(stage), "--stack", "nosuch", code=1)
    stage.write_text(STAGE)
