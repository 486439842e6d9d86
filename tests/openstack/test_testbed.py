# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker's testbed on the control plane: instances are real to Nova, and an sshd stands for each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from tests.openstack.hypervisor import Hypervisor
from tests.openstack.plane.cloud import Plane
from tests.system import PACKAGES
from tests.testbeds import prepared, started
from tests.trees import account
from testyard.errors import CancelledRun, LastingTestbedError, TestbedError
from testyard.hosts import OpenStackHost
from testyard.local.machine import machine_architecture, machine_release
from testyard.settings import Worker
from worker.testbed.base import Command, Workspace
from worker.testbed.openstack import OpenStackTestbed, openstack_testbed
from worker.testbed.owners import Owners

pytestmark = pytest.mark.root

FLAVOR, NETWORK, GROUP = "cpu1-ram1-disk5", "testbeds", "testbeds"


@pytest.fixture(scope="module", autouse=True)
def _project(admin: Connection, member: Connection) -> Iterator[None]:
    """What the stacks make for a worker."""
    flavor = admin.compute.create_flavor(name=FLAVOR, vcpus=1, ram=1024, disk=5)
    network = member.network.create_network(name=NETWORK)
    # documentation's first network (RFC 5737): nobody else on this machine has it
    member.network.create_subnet(network_id=network.id, ip_version=4, cidr="192.0.2.0/24")
    group = member.network.create_security_group(name=GROUP)
    yield
    deadline = time.monotonic() + 60
    while list(member.network.ports(network_id=network.id, device_owner="compute:nova")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    member.network.delete_network(network)
    member.network.delete_security_group(group)
    admin.compute.delete_flavor(flavor)


@pytest.fixture(autouse=True)
def _clouds(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(plane.clouds_yaml))


@pytest.fixture
def hypervisor(admin: Connection, tmp_path: Path) -> Iterator[Hypervisor]:
    (tmp_path / "machines").mkdir()
    with Hypervisor(admin, tmp_path / "machines") as found:
        yield found


def testbed_of(tmp_path: Path, plane: Plane, **more: Any) -> OpenStackTestbed:
    given = {
        "name": "cloud",
        "cloud": plane.cloud,
        "flavor": FLAVOR,
        "network": NETWORK,
        "security_groups": (GROUP,),
        "image": "plane-{architecture}",
        "packages": (),
        "architectures": (machine_architecture(),),
        "releases": (machine_release(),),
        **more,
    }
    settings = Worker(name="worker-1", work_dir=tmp_path / "work", source_dir=PACKAGES)
    return openstack_testbed(OpenStackHost(**given), settings, account(), Owners())


testbed_of.__test__ = False  # type: ignore[attr-defined]


def gone(member: Connection) -> bool:
    """True once no instance of ours is left."""
    deadline = time.monotonic() + 30
    while names := [
        server.name for server in member.compute.servers() if server.name.startswith("testyard-")
    ]:
        if time.monotonic() > deadline:
            pytest.fail(f"still there: {names}")
        time.sleep(0.3)
    return True


def test_each_run_has_an_instance_of_its_own(
    tmp_path: Path,
    plane: Plane,
    member: Connection,
    hypervisor: Hypervisor,
    capfd: pytest.CaptureFixture[str],
) -> None:
    testbed = testbed_of(tmp_path, plane)
    assert testbed.problems() == ()
    assert prepared(testbed) == []
    with started(testbed, tmp_path, "ty-fail") as run:
        (server,) = [one for one in member.compute.servers() if one.name.startswith("testyard-")]
        assert server.metadata["testyard-owner"].startswith("worker-1/")
        assert float(server.metadata["testyard-until"]) > time.time()
        assert member.compute.get_server(server).fetch_tags(member.compute).tags == ["testyard"]
        assert [group["name"] for group in server.security_groups] == [GROUP]
        exit_code = run.end()
    assert exit_code == 4, run.said
    assert "bad                  FAIL" in run.said
    assert "is ready after" in capfd.readouterr().out
    (told,) = hypervisor.booted.values()
    assert told["ssh_pwauth"] is False
    assert gone(member)


def test_a_killed_runs_instance_goes_with_it(
    tmp_path: Path, plane: Plane, member: Connection, hypervisor: Hypervisor
) -> None:
    with started(testbed_of(tmp_path, plane), tmp_path, "ty-slow") as run:
        run.until("second 1")
        run.process.kill()
        run.end()
    assert gone(member)


def test_a_quota_that_is_used_up_is_waited_for(
    tmp_path: Path, plane: Plane, admin: Connection, member: Connection, hypervisor: Hypervisor
) -> None:
    testbed, project = testbed_of(tmp_path, plane), member.current_project_id
    before = admin.compute.get_quota_set(project).instances
    admin.compute.update_quota_set(project, instances=0)
    notes: list[str] = []
    raised = threading.Timer(2, admin.compute.update_quota_set, (project,), {"instances": before})
    raised.start()
    workspace = Workspace(tmp_path / "run")
    workspace.folder.mkdir(mode=0o711)
    command = Command(machine_release(), machine_architecture(), "ty-pass")
    process = testbed.start(workspace, command, notes.append, lambda: False)
    process.kill()
    process.wait()
    testbed.remove(workspace)
    assert "waiting: Quota exceeded" in notes[0]
    assert len(notes) == 2
    assert gone(member)


@pytest.mark.parametrize(
    ("settings", "words", "kind"),
    [
        ({"boot_timeout": 10}, "does not answer", TestbedError),  # nothing boots it
        ({"flavor": "huge"}, "No valid host", TestbedError),
        ({"flavor": "nosuch"}, "the cloud has no flavor nosuch", LastingTestbedError),
        ({"network": "nosuch"}, "the cloud has no network nosuch", LastingTestbedError),
        (
            {"image": "nosuch-{release}"},
            f"the cloud has no image nosuch-{machine_release()}",
            LastingTestbedError,
        ),
        ({"cloud": "nosuch"}, "nosuch", TestbedError),
    ],
    ids=["silent", "too large", "no flavor", "no network", "no image", "no cloud"],
)
def test_what_does_not_come_up_is_deleted_and_told(
    tmp_path: Path,
    plane: Plane,
    admin: Connection,
    member: Connection,
    *,
    settings: dict[str, Any],
    words: str,
    kind: type[TestbedError],
) -> None:
    huge = admin.compute.create_flavor(name="huge", vcpus=1, ram=1024**2 * 100, disk=1)
    project = member.current_project_id
    before = admin.compute.get_quota_set(project).ram
    admin.compute.update_quota_set(project, ram=-1)
    testbed = testbed_of(tmp_path, plane, **settings)
    workspace = Workspace(tmp_path / "run")
    workspace.folder.mkdir(mode=0o711)
    command = Command(machine_release(), machine_architecture(), "ty-pass")
    try:
        with pytest.raises(kind, match=words) as failure:
            testbed.start(workspace, command, print, lambda: False)
    finally:
        admin.compute.delete_flavor(huge)
        admin.compute.update_quota_set(project, ram=before)
    assert type(failure.value) is kind
    assert failure.value.brief.startswith("host cloud: ")
    if "boot_timeout" in settings:
        assert "console" in failure.value.details
    assert gone(member)
    assert testbed.problems() or kind is TestbedError, "doctor would have said so"


def test_a_run_that_is_not_wanted_any_more_leaves_nothing(
    tmp_path: Path, plane: Plane, member: Connection
) -> None:
    workspace = Workspace(tmp_path / "run")
    workspace.folder.mkdir(mode=0o711)
    command, since = Command(machine_release(), machine_architecture(), "ty-pass"), time.monotonic()
    with pytest.raises(CancelledRun):
        testbed_of(tmp_path, plane).start(workspace, command, print, lambda: time.monotonic() > since + 5)
    assert gone(member)


def test_what_dead_workers_left_is_deleted_and_nothing_else(
    tmp_path: Path, plane: Plane, member: Connection
) -> None:
    testbed, image = testbed_of(tmp_path, plane), member.image.find_image(f"plane-{machine_architecture()}")
    network, flavor = member.network.find_network(NETWORK), member.compute.find_flavor(FLAVOR)
    own = testbed.owner.name
    _, marks = testbed.owner.begin(testbed.cloud)
    past, future = {"testyard-until": "1"}, {"testyard-until": str(int(time.time()) + 1000)}
    wanted = {
        "testyard-own-over": {"testyard-owner": own, "testyard-run": "x", **future},
        "testyard-own-running": marks,
        "testyard-other-dead": {"testyard-owner": "w2", "testyard-run": "y", **past},
        "testyard-other-lives": {"testyard-owner": "w2", "testyard-run": "z", **future},
        "testyard-unmarked": {},
        "another": {"testyard-owner": own, **past},
    }
    made = [
        member.compute.create_server(
            name=name,
            image_id=image.id,
            flavor_id=flavor.id,
            networks=[{"uuid": network.id}],
            metadata=metadata,
        )
        for name, metadata in wanted.items()
    ]
    for server in made:
        member.compute.wait_for_server(server, wait=60, interval=0.3)
    notes: list[str] = []
    try:
        testbed.tidy(notes.append)
        deadline = time.monotonic() + 30
        while len(list(member.compute.servers())) > 4:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        left = sorted(server.name for server in member.compute.servers())
    finally:
        for server in made:
            member.compute.delete_server(server.id)
            member.compute.wait_for_delete(server, wait=60, interval=0.3)
    assert left == ["another", "testyard-other-lives", "testyard-own-running", "testyard-unmarked"]
    assert sorted(notes) == [
        "deleting testyard-other-dead, which w2 left",
        "deleting testyard-own-over, left by a run that is over",
    ]
