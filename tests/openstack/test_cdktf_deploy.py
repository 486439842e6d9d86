# SPDX-License-Identifier: AGPL-3.0-or-later
"""``cdktf deploy`` of the devel stage on a real control plane, with the stand-in provider.

Printed, and kept in docs/figures.md: how long each command takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from openstack.connection import Connection

from tests.openstack.cdktf import Cdktf, Ran, cdktf_environment
from tests.openstack.inventory import inventory
from tests.openstack.plane.cloud import Plane
from tests.openstack.provider.install import ROOT

pytestmark = pytest.mark.timeout(900)

DEPLOY_LIMIT_SECONDS = 180.0
STAGE = Path(__file__).parent / "configurations" / "devel.toml"
KINDS = (
    *("broker", "database", "flavors", "functions", "identity"),
    *("lxd-hosts", "network", "results", "web", "workers"),
)


@dataclass
class Deployment:
    """The stage on the plane. ``first`` is the deployment that made it."""

    cdktf: Cdktf
    stage: Path
    first: Ran
    before: frozenset[tuple[str, str, str]]

    def want_hosts(self, count: int) -> None:
        """Change the stage's settings."""
        text = STAGE.read_text(encoding="utf-8")
        assert "count = 3" in text
        self.stage.write_text(text.replace("count = 3", f"count = {count}"), encoding="utf-8")


@pytest.fixture(scope="module")
def deployment(
    plane: Plane, admin: Connection, terraform_rc: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("devel")
    stage = folder / "devel.toml"
    shutil.copy(STAGE, stage)
    shutil.copy(ROOT / "cdktf.json", folder)
    environment = cdktf_environment(
        terraform_rc, OS_CLIENT_CONFIG_FILE=str(plane.clouds_yaml), TESTYARD_STAGE=str(stage)
    )
    cdktf = Cdktf(folder, environment)
    before = inventory(admin)
    try:
        yield Deployment(cdktf, stage, cdktf.deploy(), before)
    finally:
        if inventory(admin) != before:
            cdktf.destroy()


def servers(cloud: Connection) -> dict[str, str]:
    """Name and id of ours."""
    return {one.name: one.id for one in cloud.compute.servers() if one.name.startswith("testyard-devel-")}


def stacks(*kinds: str) -> set[str]:
    return {f"{kind}-RegionOne" for kind in kinds or KINDS}


def told(ran: Ran, word: str) -> set[str]:
    """The stacks in whose lines of the output ``word`` is."""
    return {line.split()[0] for line in ran.lines(word)}


def test_devel_is_deployed_within_three_minutes(deployment: Deployment, admin: Connection) -> None:
    ran = deployment.first
    print(f"cdktf deploy of devel: {ran.seconds:.0f} s")
    assert ran.code == 0, ran.output
    assert ran.lines("Testyard's stand-in, made for its tests, takes the place of the official")
    assert ran.seconds < DEPLOY_LIMIT_SECONDS
    assert {name.removeprefix("testyard-devel-") for name in servers(admin)} == {
        *("broker-1", "database", "balancer", "functions-1", "web-1"),
        *("armhf-1", "armhf-2", "armhf-3", "regionone-amd64-1", "regionone-lxd-1"),
    }
    assert all(one.status == "ACTIVE" for one in admin.compute.servers())


def test_a_second_deployment_changes_nothing(deployment: Deployment, admin: Connection) -> None:
    before = inventory(admin)
    ran = deployment.cdktf.deploy()
    print(f"cdktf deploy, no changes: {ran.seconds:.0f} s")
    assert ran.code == 0, ran.output
    assert told(ran, "No changes.") == stacks()
    assert ran.lines("Plan:") == []
    assert inventory(admin) == before


def test_a_host_that_the_quota_refuses_stands_after_the_next_run(
    deployment: Deployment, admin: Connection
) -> None:
    """Three hosts to four: exactly one is added, nothing is replaced, and the run that failed did no harm."""
    deployment.want_hosts(4)
    before = servers(admin)
    project = admin.current_project_id
    quota = admin.compute.get_quota_set(project).instances
    admin.compute.update_quota_set(project, instances=len(before))
    try:
        refused = deployment.cdktf.deploy("lxd-hosts-RegionOne")
    finally:
        admin.compute.update_quota_set(project, instances=quota)
    assert refused.code != 0
    assert refused.lines("Quota exceeded for instances")
    assert servers(admin) == before

    ran = deployment.cdktf.deploy("lxd-hosts-RegionOne")
    print(f"cdktf deploy, one host more: {ran.seconds:.0f} s")
    assert ran.code == 0, ran.output
    assert [line.partition("Plan:")[2].strip() for line in ran.lines("Plan:")] == [
        "1 to add, 1 to change, 0 to destroy."
    ]
    after = servers(admin)
    assert after.keys() - before.keys() == {"testyard-devel-armhf-4"}
    assert before.items() <= after.items()


def test_destroying_leaves_nothing_behind(deployment: Deployment, admin: Connection) -> None:
    ran = deployment.cdktf.destroy()
    print(f"cdktf destroy: {ran.seconds:.0f} s")
    assert inventory(admin) == deployment.before
    assert admin.identity.find_user("testyard-devel-migration") is None
    assert [one.name for one in admin.compute.flavors(is_public=None) if one.name.startswith("cpu")] == []
    assert list(admin.identity.access_rules(admin.current_user_id)) == []
