# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control plane does what a cloud does for Testyard: through openstacksdk, as a project's member."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from openstack.connection import Connection
from openstack.exceptions import ConflictException, ForbiddenException, HttpException

from tests.openstack.inventory import inventory
from tests.openstack.plane.cloud import Plane
from tests.openstack.plane.seed import EXTERNAL_NETWORK, IMAGES

USER_DATA = '#cloud-config\nwrite_files: [{content: "${HOME} %{x} \\"quoted\\"\\n"}]\n'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1x1Ywn0xwGQ1oH4Zb2FQyN3n0b1n7Y9x7Y1n2k3m4p tests"
SECONDS = 60
Boot = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def _nothing_left(member: Connection) -> Iterator[None]:
    """What these tests make they delete."""
    before = inventory(member)
    yield
    assert inventory(member) == before


@pytest.fixture(scope="module")
def flavor(admin: Connection) -> Iterator[Any]:
    made = admin.compute.create_flavor(name="cpu4-ram8-disk20", vcpus=4, ram=8192, disk=20)
    yield made
    admin.compute.delete_flavor(made)


@pytest.fixture(scope="module")
def subnet(member: Connection) -> Iterator[Any]:
    """In a network of its own, with a way out."""
    network = member.network.create_network(name="yard")
    subnet = member.network.create_subnet(
        name="yard", network_id=network.id, ip_version=4, cidr="10.44.0.0/24", dns_nameservers=["10.44.0.2"]
    )
    outside = member.network.find_network(EXTERNAL_NETWORK, ignore_missing=False)
    router = member.network.create_router(name="yard", external_gateway_info={"network_id": outside.id})
    member.network.add_interface_to_router(router, subnet=subnet.id)
    yield subnet
    member.network.remove_interface_from_router(router, subnet=subnet.id)
    member.network.delete_router(router)
    member.network.delete_network(network)


@pytest.fixture(scope="module")
def boot(member: Connection, flavor: Any, subnet: Any) -> Iterator[Boot]:
    """Makes a server and waits for it; they are deleted at the end."""
    with ExitStack() as over:

        def made(name: str, image: str = "plane-amd64", **more: Any) -> Any:
            server = member.compute.create_server(
                name=name,
                image_id=member.image.find_image(image, ignore_missing=False).id,
                flavor_id=flavor.id,
                networks=[{"uuid": subnet.network_id}],
                **more,
            )
            over.callback(gone, member, server)
            member.compute.wait_for_server(server, wait=SECONDS, interval=0.3)
            return member.compute.get_server(server)

        yield made


def gone(cloud: Connection, server: Any) -> None:
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, wait=SECONDS, interval=0.3)


def addresses(cloud: Connection, server: Any) -> set[str]:
    return {entry["addr"] for found in cloud.compute.get_server(server).addresses.values() for entry in found}


def state(cloud: Connection, volume: Any) -> tuple[str, int]:
    found = cloud.block_storage.get_volume(volume.id)
    return found.status, found.size


def eventually(condition: Callable[[], bool], words: Callable[[], str], seconds: float = SECONDS) -> None:
    """Wait for what a cloud does a moment later."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, words()
        time.sleep(0.2)


def host(admin: Connection, server: Any) -> str:
    """Only the operator is told where a server runs."""
    return str(admin.compute.get_server(server.id).compute_host)


def test_the_catalogue_names_every_service(member: Connection) -> None:
    types = {
        entry["type"] for entry in member.session.auth.get_access(member.session).service_catalog.catalog
    }
    services = {"identity", "image", "compute", "network", "placement", "block-storage", "object-store"}
    assert types == services


def test_a_member_is_no_operator(member: Connection) -> None:
    with pytest.raises(ForbiddenException):
        member.compute.create_flavor(name="mine", vcpus=1, ram=1, disk=1)
    with pytest.raises(ForbiddenException):
        list(member.compute.hypervisors())


def test_a_server_with_all_that_belongs_to_it(
    member: Connection, admin: Connection, boot: Boot, subnet: Any
) -> None:
    group = member.network.create_security_group(name="workers")
    for port in (22, 8443):
        member.network.create_security_group_rule(
            security_group_id=group.id,
            direction="ingress",
            ethertype="IPv4",
            protocol="tcp",
            port_range_min=port,
            port_range_max=port,
            remote_ip_prefix="10.44.0.0/24",
        )
    key = member.compute.create_keypair(name="operator", public_key=KEY)
    server = boot(
        "worker",
        key_name=key.name,
        security_groups=[{"name": group.name}],
        user_data=base64.b64encode(USER_DATA.encode()).decode(),
        metadata={"testyard": "worker"},
    )
    assert server.status == "ACTIVE"
    assert server.key_name == "operator"
    assert [found["name"] for found in server.security_groups] == ["workers"]
    assert server.metadata == {"testyard": "worker"}
    [fixed] = server.addresses["yard"]
    assert fixed["addr"].startswith("10.44.0.")
    sent = admin.compute.get_server(server.id).user_data
    assert base64.b64decode(sent).decode() == USER_DATA

    outside = member.network.find_network(EXTERNAL_NETWORK, ignore_missing=False)
    [port] = member.network.ports(device_id=server.id)
    assert port.status == "ACTIVE"
    address = member.network.create_ip(floating_network_id=outside.id, port_id=port.id)
    expected = {fixed["addr"], address.floating_ip_address}
    # Neutron tells Nova a moment later
    eventually(
        lambda: addresses(member, server) == expected, lambda: f"addresses: {addresses(member, server)}"
    )

    assert "FAKE CONSOLE OUTPUT" in member.compute.get_server_console_output(server, 5)["output"]
    with pytest.raises(ConflictException):  # it is in use
        member.network.delete_security_group(group)
    member.network.delete_ip(address)
    gone(member, server)
    assert not list(member.network.ports(device_id=server.id))
    member.network.delete_security_group(group)
    member.compute.delete_keypair(key)


def test_where_servers_are_put(member: Connection, admin: Connection, boot: Boot) -> None:
    group = member.compute.create_server_group(name="hosts", policy="soft-anti-affinity")
    apart = [boot(f"apart-{number}", scheduler_hints={"group": group.id}) for number in range(3)]
    assert len({host(admin, server) for server in apart}) == 3
    beside = boot("beside", scheduler_hints={"same_host": [apart[1].id]})
    assert host(admin, beside) == host(admin, apart[1])
    other = boot("other", image="plane-arm64")
    assert {"amd64", "arm64"} == {host(admin, server).split("-")[1] for server in (beside, other)}
    for server in (*apart, beside, other):
        gone(member, server)
    member.compute.delete_server_group(group)


def test_a_server_that_is_stopped_started_and_rebuilt(member: Connection, boot: Boot) -> None:
    server = boot("stopped")
    for act, status in (
        (member.compute.stop_server, "SHUTOFF"),
        (member.compute.start_server, "ACTIVE"),
    ):
        act(server)
        member.compute.wait_for_server(server, status=status, wait=SECONDS, interval=0.3)
    rebuilt = member.compute.rebuild_server(server, image=server.image.id, name="rebuilt")
    assert rebuilt.status == "REBUILD"
    rebuilt = member.compute.wait_for_server(rebuilt, wait=SECONDS, interval=0.3)
    assert (rebuilt.id, rebuilt.name) == (server.id, "rebuilt")
    gone(member, server)


def test_what_a_quota_refuses(admin: Connection, member: Connection, flavor: Any, subnet: Any) -> None:
    project = member.current_project_id
    image = member.image.find_image("plane-amd64").id
    admin.compute.update_quota_set(project, cores=3)
    try:
        with pytest.raises(
            ForbiddenException, match="Quota exceeded for cores: Requested 4, but already used 0 of 3"
        ):
            member.compute.create_server(
                name="too-big", image_id=image, flavor_id=flavor.id, networks=[{"uuid": subnet.network_id}]
            )
    finally:
        admin.compute.revert_quota_set(project)
    assert member.compute.get_limits().absolute.total_cores == 160
    admin.network.update_quota(project, networks=1)
    try:
        with pytest.raises(ConflictException, match="Quota exceeded for resources: \\['network'\\]"):
            member.network.create_network(name="one-too-many")
    finally:
        admin.network.delete_quota(project)
    with pytest.raises(HttpException, match="VolumeSizeExceedsAvailableQuota") as caught:
        member.block_storage.create_volume(name="too-large", size=4001)
    assert caught.value.status_code == 413


def test_an_application_credential_may_do_what_its_access_rules_say(plane: Plane, member: Connection) -> None:
    made = member.identity.create_application_credential(
        member.current_user_id,
        name="worker",
        access_rules=[
            {"service": "compute", "method": "GET", "path": "/v2.1/servers/detail"},
            {"service": "object-store", "method": "PUT", "path": "/v1/*/results"},
        ],
    )
    restricted = Connection(
        auth_type="v3applicationcredential",
        auth={
            "auth_url": plane.auth_url,
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        },
        region_name=plane.region,
    )
    with restricted:
        assert list(restricted.compute.servers()) == []
        restricted.object_store.create_container("results")
        for refused in (
            lambda: list(restricted.compute.servers(details=False)),
            lambda: list(restricted.network.networks()),
            lambda: list(restricted.block_storage.volumes()),
            lambda: restricted.object_store.delete_container("results", ignore_missing=False),
        ):
            with pytest.raises(HttpException) as caught:
                refused()
            assert caught.value.status_code == 401
    member.object_store.delete_container("results", ignore_missing=False)
    member.identity.delete_application_credential(member.current_user_id, made)
    for rule in member.identity.access_rules(member.current_user_id):
        member.identity.delete_access_rule(member.current_user_id, rule)


def test_a_volume_at_a_server(member: Connection, boot: Boot) -> None:
    volume = member.block_storage.create_volume(name="queues", size=5)
    member.block_storage.wait_for_status(volume, interval=0.2, wait=SECONDS)
    server = boot("broker")
    member.compute.create_volume_attachment(server, volume=volume.id)
    member.block_storage.wait_for_status(volume, status="in-use", interval=0.2, wait=SECONDS)
    assert member.block_storage.get_volume(volume.id).attachments[0]["server_id"] == server.id
    member.compute.delete_volume_attachment(server, volume)
    eventually(lambda: state(member, volume) == ("available", 5), lambda: f"volume: {state(member, volume)}")
    member.block_storage.extend_volume(volume, 8)
    eventually(lambda: state(member, volume) == ("available", 8), lambda: f"volume: {state(member, volume)}")
    gone(member, server)
    member.block_storage.delete_volume(volume)
    member.block_storage.wait_for_delete(volume, interval=0.2, wait=SECONDS)


def test_a_container_that_all_may_read(member: Connection) -> None:
    store = member.object_store
    store.create_container("public", read_ACL=".r:*,.rlistings")
    store.upload_object("public", "a/log", data=b"pass\n")
    url = store.get_endpoint()
    assert httpx.get(f"{url}/public/a/log", trust_env=False).content == b"pass\n"
    assert httpx.put(f"{url}/public/b", content=b"", trust_env=False).status_code == 401
    store.delete_object("a/log", container="public")
    store.delete_container("public", ignore_missing=False)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_for_each_architecture(member: Connection, name: str) -> None:
    image = member.image.find_image(name, ignore_missing=False)
    assert (image.status, image.visibility, image.architecture) == ("active", "public", IMAGES[name])


def test_an_image_of_the_own(member: Connection) -> None:
    made = member.image.create_image(
        "worker", data=b"\0" * 4096, disk_format="raw", container_format="bare", wait=True
    )
    assert member.image.download_image(made).content == b"\0" * 4096
    member.image.delete_image(made)
