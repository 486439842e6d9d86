# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devel on the control plane, by terraform and the stand-in provider: made, looked at, changed, destroyed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from openstack.connection import Connection
from pydantic import TypeAdapter

from infra.cloud_init.broker import broker
from infra.cloud_init.lxd_host import lxd_host
from infra.describe import describe
from infra.node import prepare_node
from infra.settings import Settings, load_settings
from infra.settings.load import check_settings
from tests.openstack.plane.cloud import Plane
from tests.openstack.terraform import Terraform, terraform_environment
from testyard.hosts import LxdHost
from testyard.inventory import INVENTORY, hosts_of, object_name

pytestmark = pytest.mark.timeout(900)

PREFIX = "testyard-devel"


def a_key() -> str:
    """A public key; Nova refuses those that are none."""
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class Deployment:
    """A stage's folder of stacks on the plane; ``use`` writes them anew for other settings."""

    folder: Path
    environment: dict[str, str]
    given: dict[str, Any]
    made: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return check_settings(self.given, "mine.toml")

    @property
    def stacks(self) -> list[str]:
        """In the order in which they are made."""
        (region,) = describe(self.settings)["regions"]
        return [str(name) for name in region["stacks"]]

    def synth(self, **changes: Any) -> None:
        """Write terraform's files, with other values at the top of the settings."""
        from infra.app import build  # noqa: PLC0415  importing cdktf starts node

        build(check_settings({**self.given, **changes}, "mine.toml"), outdir=self.folder).synth()

    def terraform(self, stack: str) -> Terraform:
        return Terraform(self.folder / "stacks" / stack, self.environment)

    def deploy(self) -> None:
        """Make all stacks, one after the other, as `cdktf deploy` does."""
        self.synth()
        for name in self.stacks:
            self.made.append(name)
            self.terraform(name).init()
            self.terraform(name).apply()

    def destroy(self) -> None:
        """Remove what was made, the last first."""
        self.synth()
        while self.made:
            self.terraform(self.made[-1]).destroy()
            self.made.pop()

    def plan(self, kind: str) -> dict[str, list[str]]:
        """What would change in a stack, ``openstack_`` left out."""
        found = self.terraform(f"{kind}-RegionOne").plan()
        return {address.removeprefix("openstack_"): actions for address, actions in found.items()}


def settings_for(plane: Plane) -> dict[str, Any]:
    """Devel with three LXD hosts, and floating addresses for broker and site; sizes that fit the plane."""
    found: dict[str, Any] = load_settings("devel").model_dump(mode="json")
    found["operators"][0]["key"] = a_key()
    found["images"]["base"] = "plane-{architecture}"
    found["broker"] |= {
        "host": "broker.example.com",
        "clients": [{"name": "migration", "prefix": "198.51.100.7/32"}],
    }
    found["balancer"]["public"] = True
    for size in found["flavors"]["sizes"].values():
        size["cpus"] = 1
    found["regions"][0] |= {
        "name": plane.region,
        "cloud": plane.admin_cloud,
        "external_network": plane.external_network,
        "architectures": ["amd64", "armhf"],
        "lxd": [{"name": "armhf", "count": 3}],
    }
    return found


@pytest.fixture(scope="module")
def deployed(
    plane: Plane, terraform_rc: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """All stacks, destroyed at the end."""
    prepare_node()
    environment = terraform_environment(terraform_rc, OS_CLIENT_CONFIG_FILE=str(plane.clouds_yaml))
    found = Deployment(tmp_path_factory.mktemp("cdktf.out"), environment, settings_for(plane))
    try:
        found.deploy()
        yield found
    finally:
        found.destroy()


def servers(admin: Connection) -> dict[str, Any]:
    """Ours by their names without the stage."""
    return {
        server.name.removeprefix(f"{PREFIX}-"): server
        for server in admin.compute.servers()
        if server.name.startswith(PREFIX)
    }


def addresses_of(server: Any) -> set[str]:
    return {one["addr"] for found in server.addresses.values() for one in found}


def test_every_instance_stands_and_has_its_address(deployed: Deployment, admin: Connection) -> None:
    (region,) = describe(deployed.settings)["regions"]
    found = servers(admin)
    assert set(found) == {each["name"] for each in region["instances"]}
    assert {server.status for server in found.values()} == {"ACTIVE"}
    assert "10.44.0.13" in addresses_of(found["database"])
    told = deployed.terraform("broker-RegionOne").outputs()
    assert addresses_of(found["broker-1"]) == {"10.44.0.10", *told["public_addresses"]}
    assert told["instances"]["broker-1"]["address"] == "10.44.0.10"


def test_user_data_arrives_byte_for_byte(deployed: Deployment, admin: Connection) -> None:
    settings = deployed.settings
    expected = {"broker-1": broker(settings, 1)}
    for host in ("armhf-1", "armhf-3"):
        expected[host] = lxd_host(settings, settings.regions[0].lxd_hosts[0], host)
    found = servers(admin)
    for name, text in expected.items():
        assert "${" in text
        assert base64.b64decode(found[name].user_data).decode() == text


def test_a_worker_finds_the_hosts_that_stand(deployed: Deployment, admin: Connection) -> None:
    body = admin.object_store.get(f"/{INVENTORY}/{object_name('RegionOne')}").content
    tables = hosts_of(body, "regionone-lxd-1")
    hosts = TypeAdapter(list[LxdHost]).validate_python([{**table, "testbed": "lxd"} for table in tables])
    found = servers(admin)
    assert {host.name: host.address for host in hosts} == {
        name: f"https://{next(iter(addresses_of(found[name])))}:8443"
        for name in ("armhf-1", "armhf-2", "armhf-3")
    }
    remotes = deployed.terraform("lxd-hosts-RegionOne").outputs()["lxd_remotes"]
    assert remotes == json.loads(body)["remotes"]
    assert set(remotes["armhf"].values()) == {3}


def test_nobody_else_reads_the_inventory(deployed: Deployment, plane: Plane, admin: Connection) -> None:
    with plane.connect() as stranger:
        address = f"{admin.object_store.get_endpoint()}/{INVENTORY}/{object_name('RegionOne')}"
        assert stranger.session.get(address, raise_exc=False).status_code == 403


def test_a_second_deployment_changes_nothing(deployed: Deployment) -> None:
    deployed.synth()
    with ThreadPoolExecutor(3) as several:
        plans = several.map(lambda name: deployed.terraform(name).plan(), deployed.stacks)
        assert {name: plan for name, plan in zip(deployed.stacks, plans, strict=True) if plan} == {}


def test_a_fourth_host_is_one_host_more(deployed: Deployment) -> None:
    region = {**deployed.given["regions"][0], "lxd": [{"name": "armhf", "count": 4}]}
    deployed.synth(regions=[region])
    assert deployed.plan("lxd-hosts") == {
        "compute_instance_v2.armhf-4": ["create"],
        "objectstorage_object_v1.inventory": ["update"],
    }
    assert deployed.plan("workers") == {}


def test_other_user_data_makes_an_instance_anew(deployed: Deployment) -> None:
    functions = {"which": ["index", "status", "request", "webhook", "forge", "notify"]}
    deployed.synth(functions=functions)
    assert deployed.plan("functions") == {"compute_instance_v2.functions-1": ["delete", "create"]}


def test_another_operator_makes_no_instance_anew(deployed: Deployment) -> None:
    deployed.synth(operators=[{"name": "other", "key": a_key()}])
    assert deployed.plan("identity") == {"compute_keypair_v2.keypair": ["delete", "create"]}
    assert deployed.plan("functions") == {}


def test_another_size_is_a_resize_in_place(deployed: Deployment) -> None:
    deployed.synth(functions={"flavor": "data"})
    assert deployed.plan("functions") == {"compute_instance_v2.functions-1": ["update"]}


def left(admin: Connection) -> list[str]:
    """Whatever of ours there is, by kind and name."""
    kinds: dict[str, Any] = {
        "server": admin.compute.servers(),
        "server group": admin.compute.server_groups(),
        "keypair": admin.compute.keypairs(),
        "flavor": admin.compute.flavors(is_public=None),
        "volume": admin.block_storage.volumes(),
        "network": admin.network.networks(),
        "subnet": admin.network.subnets(),
        "router": admin.network.routers(),
        "port": admin.network.ports(),
        "security group": admin.network.security_groups(),
        "floating address": admin.network.ips(),
        "container": admin.object_store.containers(),
        "credential": admin.identity.application_credentials(admin.current_user_id),
    }
    ours = (PREFIX, "testyard-", "autopkgtest-", "cpu1-")
    return [
        f"{kind} {one.name}"
        for kind, found in kinds.items()
        for one in found
        if str(one.name or "").startswith(ours) or str(getattr(one, "description", "")).startswith(PREFIX)
    ]


def test_destroying_leaves_nothing(deployed: Deployment, admin: Connection) -> None:
    assert len(left(admin)) > 30
    deployed.destroy()
    assert left(admin) == []
