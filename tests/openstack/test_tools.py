# SPDX-License-Identifier: AGPL-3.0-or-later
"""`testyard infra` against the control plane's quotas, volumes, instances and images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection
from typer.testing import CliRunner

from infra.settings import load_settings
from infra.tools.__main__ import app
from infra.tools.orphans import orphans
from tests.openstack.plane.cloud import Plane

STAGE = """\
stage = "devel"
[[admin_networks]]
name = "bridge"
prefix = "10.20.20.0/24"
[[operators]]
name = "developer"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAm5CwQsDpPRy1gxunXFWcD5iONwtQ9yoOeMSaIM4cv4 nobody"
[[regions]]
name = "{region}"
cloud = "{cloud}"
architectures = ["amd64"]
external_network = "{external}"
subnet = "10.44.0.0/24"
"""


@pytest.fixture
def stage(plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(plane.clouds_yaml))
    path = tmp_path / "stage.toml"
    path.write_text(STAGE.format(region=plane.region, cloud=plane.cloud, external=plane.external_network))
    return str(path)


def told(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def left(admin: Connection, member: Connection) -> Iterator[dict[str, Any]]:
    """A volume, a port, an address of the stage's that nothing has; a volume of somebody else's."""
    network = member.network.create_network(name="left")
    member.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.45.0.0/24")
    outside = member.network.find_network("public", ignore_missing=False)
    made = {
        "volume": member.block_storage.create_volume(name="testyard-devel-broker-1", size=1),
        "other": member.block_storage.create_volume(name="mine", size=2),
        "port": member.network.create_port(name="testyard-devel-port", network_id=network.id),
        "ip": member.network.create_ip(floating_network_id=outside.id, description="testyard-devel-broker"),
    }
    for name in ("volume", "other"):
        member.block_storage.wait_for_status(made[name], "available", interval=0.3, wait=60)
    yield made
    for name in ("volume", "other"):
        member.block_storage.delete_volume(made[name].id)
    member.network.delete_port(made["port"].id)
    member.network.delete_ip(made["ip"].id)
    member.network.delete_network(network)


def test_quotas_are_the_clouds_and_what_others_use_counts(
    stage: str, admin: Connection, member: Connection, left: dict[str, Any]
) -> None:
    found = json.loads(told("quota", stage, "--json"))
    (lines,) = found["regions"].values()
    by_name = {line["name"]: line for line in lines}
    assert by_name["volumes"]["others"] == 1, "the stage's own does not count"
    assert by_name["gigabytes"]["others"] == 2
    project = member.current_project_id
    before = admin.compute.get_quota_set(project)
    limits = {"instances": before.instances, "cores": before.cores, "ram": before.ram}
    admin.compute.update_quota_set(project, instances=-1, cores=1, ram=1024**2)
    try:
        lines = json.loads(told("quota", stage, "--json", code=1))["regions"].popitem()[1]
    finally:
        admin.compute.update_quota_set(project, **limits)
    assert {line["name"]: line["quota"] for line in lines if line["name"] in limits} == {
        "instances": None,
        "cores": 1,
        "ram": 1024,
    }
    (cores,) = [line for line in lines if line["missing"]]
    assert (cores["name"], cores["missing"]) == ("cores", cores["need"] - 1)
    shown = told("quota", stage, "--testbeds", "100", "--big", "10", code=1)
    assert "By that rule there is too little: 600 GiB of disk." in shown


def test_what_is_left_over_is_shown_and_deleted_when_that_is_asked_for(
    stage: str, member: Connection, left: dict[str, Any]
) -> None:
    found = json.loads(told("orphans", stage, "--json"))["orphans"]
    assert sorted(one["kind"] for one in found) == ["floating ip", "port", "volume"]
    assert json.loads(told("orphans", stage, "--json", "--older", "1"))["orphans"] == []
    assert "testyard-devel-broker-1" in told("orphans", stage, "--remove", "--dry-run")
    assert "Nothing was done" in told("orphans", stage, "--remove", code=2), "nobody was there to say yes"
    assert member.network.find_port(left["port"].id)
    told("orphans", stage, "--remove", "--yes")
    assert json.loads(told("orphans", stage, "--json"))["orphans"] == []
    assert member.block_storage.find_volume(left["other"].id), "what is somebody else's stays"


def test_replaced_images_are_left_over_after_a_month(stage: str, member: Connection) -> None:
    made = [
        member.image.create_image(
            name="testyard-worker", disk_format="raw", container_format="bare", data=b"x" * 1024
        )
        for _ in range(2)
    ]
    try:
        settings = load_settings(stage)
        later = datetime.now(UTC) + timedelta(days=31)
        assert [one.kind for one in orphans(member, settings)] == []
        (old,) = orphans(member, settings, now=later)
        assert (old.kind, old.id in {image.id for image in made}) == ("image", True)
    finally:
        for image in made:
            member.image.delete_image(image.id)


def test_a_cloud_that_cannot_be_asked(stage: str, tmp_path: Path) -> None:
    text = Path(stage).read_text().replace('cloud = "plane"', 'cloud = "nosuch"')
    (tmp_path / "other.toml").write_text(text)
    shown = told("quota", str(tmp_path / "other.toml"), code=1)
    assert "regions." in shown
    assert "nosuch" in shown
