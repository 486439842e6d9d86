# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole plane: started, seeded when it is new, and ended.

with running_plane(tmp_path / "plane") as plane:
    plane.connect().compute.servers()
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openstack
from openstack.connection import Connection

from tests.keystone import Keystone, Swift
from tests.openstack.plane import configuration, parts, tables
from tests.openstack.plane.database import MariaDB
from tests.openstack.plane.seed import EXTERNAL_NETWORK, PROJECT, seed_identity, seed_resources
from tests.openstack.plane.state import REGION, State, load_or_create
from testyard.local.files import write_private

ADMIN_CLOUD = "plane-admin"
CLOUD = "plane"
START_SECONDS = 180.0

_CLOUDS = """\
clouds:
  {admin_cloud}:
    region_name: {region}
    identity_api_version: 3
    auth:
      auth_url: {url}
      username: admin
      password: {admin}
      project_name: admin
      user_domain_name: Default
      project_domain_name: Default
  {cloud}:
    region_name: {region}
    identity_api_version: 3
    auth:
      auth_url: {url}
      username: member
      password: {member}
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default
"""


@dataclass(frozen=True)
class Plane:
    """What tests need to know of it. ``clouds_yaml`` names two clouds: a member's and the admin's."""

    folder: Path
    clouds_yaml: Path
    auth_url: str
    region: str = REGION
    admin_cloud: str = ADMIN_CLOUD
    cloud: str = CLOUD
    project: str = PROJECT
    external_network: str = EXTERNAL_NETWORK

    def connect(self, cloud: str = CLOUD) -> Connection:
        """A client of one of the two clouds; it closes with ``with``."""
        return connect(self.clouds_yaml, cloud)


class Servers:
    """Start them in the main thread: they end with it, even when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.state = state = load_or_create(folder)
        tied = signal.SIGKILL
        data = folder / "mariadb"
        if not data.exists():
            tables.copy_databases(data)
        self._database = MariaDB(data, state.logs / "mariadb.log")
        self._keystone = Keystone(
            folder / "keystone", port=state.ports["keystone"], password=state.admin, region=REGION, tied=tied
        )
        ports = [port for name, port in state.ports.items() if name.startswith("swift")]
        self._swift = Swift(folder / "swift", state.auth_url, state.service, ports=ports, tied=tied)
        self._services = {name: parts.program(state, name) for name in (*parts.INDEPENDENT, "nova")}
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """Start all and make what a new plane has. Raises ProgramError naming the part that failed."""
        begin = time.monotonic()
        new = not self.state.seeded.exists()
        self._database.start()
        configuration.write(self.state, self._database.url)
        self._write_clouds()
        for name in parts.INDEPENDENT:
            self._services[name].launch()
        self._keystone.start()
        if new:
            self._seed(lambda admin: seed_identity(admin, self.state))
        self._services["nova"].launch()
        self._swift.start()
        for name, program in self._services.items():
            program.wait_answer(self.state.url(name), START_SECONDS)
            self.seconds[name] = time.monotonic() - begin
        if new:
            self._seed(seed_resources)
            write_private(self.state.seeded, "")
        self.seconds["all"] = time.monotonic() - begin

    def stop(self) -> None:
        """End all of them, the database last."""
        programs = [*self._services.values(), self._swift.program, self._keystone.program]
        for program in programs:
            program.ask_to_end()
        for program in programs:
            program.stop()
        self._database.stop()

    def _seed(self, make: Callable[[Connection], None]) -> None:
        # a connection of its own: it keeps the catalogue that it got with its token
        with connect(self.state.clouds_yaml, ADMIN_CLOUD) as admin:
            make(admin)

    def _write_clouds(self) -> None:
        text = _CLOUDS.format(
            region=REGION,
            url=self.state.auth_url,
            admin_cloud=ADMIN_CLOUD,
            admin=self.state.admin,
            cloud=CLOUD,
            member=self.state.member,
            project=PROJECT,
        )
        write_private(self.state.clouds_yaml, text)


@contextmanager
def running_plane(folder: Path) -> Iterator[Plane]:
    """A plane in ``folder``; one that is there already starts again with all it had."""
    servers = Servers(folder)
    try:
        servers.start()
        yield plane_of(servers.state)
    finally:
        servers.stop()


def plane_of(state: State) -> Plane:
    """The handle of a plane that runs."""
    return Plane(state.folder, state.clouds_yaml, state.auth_url)


def connect(clouds_yaml: Path, cloud: str) -> Connection:
    """A client that reads this file and nothing of the environment."""
    loader = openstack.config.OpenStackConfig(
        config_files=[str(clouds_yaml)], secure_files=[], vendor_files=[], load_envvars=False
    )
    return Connection(config=loader.get_one(cloud))
