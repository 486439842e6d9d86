# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control plane names the part that fails, starts again with all it had, and leaves no process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.openstack.plane import configuration, parts
from tests.openstack.plane.cloud import ADMIN_CLOUD, connect
from tests.openstack.plane.seed import EXTERNAL_NETWORK
from tests.openstack.plane.state import load_or_create
from tests.programs import ProgramError

HERE = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Of a plane; what runs in it is ended."""
    found = tmp_path / "plane"
    yield found
    call("down", found)


def call(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.openstack.plane", what, str(folder)],
        cwd=HERE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_part_that_does_not_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    state = load_or_create(tmp_path / "plane")
    configuration.write(state, f"sqlite:///{tmp_path}/{{}}".format)
    glance = parts.program(state, "glance")
    told = r"glance ended with 1\. Its log .*/logs/glance\.log ends with:\n(.*\n)*.*Address already in use"
    with socket.create_server(("127.0.0.1", state.ports["glance"])):
        glance.launch()
        try:
            with pytest.raises(ProgramError, match=told):
                glance.wait(lambda: False)
        finally:
            glance.kill()


def test_a_plane_that_is_not_there_cannot_be_ended(tmp_path: Path) -> None:
    done = call("down", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}: no plane runs there.\n")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    tmp_path.chmod(0o755)
    told = f"{tmp_path} holds other things: name a folder that is new, empty or a plane's.\n"
    assert call("up", tmp_path).stderr == told
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.long  # 60 to 100 s: it starts twice
def test_a_plane_starts_again_with_all_it_had(folder: Path) -> None:
    started = call("up", folder)
    assert started.returncode == 0, started.stderr
    assert call("up", folder).stderr == f"{folder}: a plane runs there already.\n"
    with connect(folder / "clouds.yaml", ADMIN_CLOUD) as admin:
        network = admin.network.create_network(name="kept")
        admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
        flavor = admin.compute.create_flavor(name="kept", vcpus=1, ram=512, disk=1)
        image = admin.image.find_image("plane-arm64", ignore_missing=False)
        server = admin.compute.create_server(
            name="kept", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}]
        )
        admin.compute.wait_for_server(server, wait=60, interval=0.3)
    processes = parts_of(folder)
    assert len(processes) == 8
    assert call("down", folder).returncode == 0
    assert not any(process.is_running() for process in processes)

    assert call("up", folder).returncode == 0
    with connect(folder / "clouds.yaml", ADMIN_CLOUD) as admin:
        assert admin.network.find_network(EXTERNAL_NETWORK) is not None
        admin.compute.stop_server(server)  # its host knows it
        admin.compute.wait_for_server(server, status="SHUTOFF", wait=60, interval=0.3)
        admin.compute.delete_server(server)
        admin.compute.wait_for_delete(server, wait=60, interval=0.3)

    processes = parts_of(folder)
    os.kill(keeper(folder).pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


def keeper(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "pid").read_text()))


def parts_of(folder: Path) -> list[psutil.Process]:
    return keeper(folder).children()
