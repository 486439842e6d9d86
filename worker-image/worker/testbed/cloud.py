# SPDX-License-Identifier: AGPL-3.0-or-later
"""A project of an OpenStack cloud, through openstacksdk: its errors become ours."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.compute.v2.server import Server
from openstack.connection import Connection
from openstack.exceptions import ForbiddenException, NotFoundException, SDKException

from testyard.errors import CancelledRun, LastingTestbedError, TestbedError
from testyard.hosts import OpenStackHost

#: Begins the names of all instances of ours, by which they are listed.
PREFIX = "testyard-"
#: Marks them for people who look at the project.
TAG = "testyard"
#: Seconds between two looks at an instance, and between two tries while the quota is used up.
_LOOK, _QUOTA_LOOK = 2.0, 20.0
#: Lines of the console that are told when an instance does not come up.
_CONSOLE_LINES = 40


@dataclass(frozen=True)
class Order:
    """An instance to be made. ``metadata`` says whose it is."""

    name: str
    image: str
    flavor: str
    user_data: str
    metadata: Mapping[str, str]


class Cloud:
    """For any number of threads: each has a session of its own."""

    def __init__(self, host: OpenStackHost) -> None:
        self.host = host

    @contextmanager
    def session(self, seconds: float = 60.0) -> Iterator[Connection]:
        """A connection; each question may take so many seconds. Raises TestbedError."""
        host = self.host
        try:
            with openstack.connect(
                cloud=host.cloud or None,
                region_name=host.region or None,
                api_timeout=seconds,
                app_name="testyard",
            ) as connection:
                yield connection
        except (SDKException, ClientException) as error:
            raise TestbedError(
                f"host {host.name}: the cloud says: {_brief(error)}",
                resolution=f"See to cloud {host.cloud or 'of the OS_* variables'} "
                "and its credentials, or wait until it is well.",
            ) from error

    def find_image(self, session: Connection, release: str, architecture: str) -> str:
        """The id of the newest active image. Raises LastingTestbedError if there is none."""
        name = self.host.image.format(release=release, architecture=architecture)
        found = list(session.image.images(name=name, status="active", sort="created_at:desc", limit=1))
        if not found:
            raise self._missing("image", name)
        return str(found[0].id)

    def find_flavor(self, session: Connection, *, big: bool) -> str:
        """The id of the flavor. Raises LastingTestbedError if there is none."""
        name = (self.host.big_flavor if big else "") or self.host.flavor
        found = session.compute.find_flavor(name)
        if found is None:
            raise self._missing("flavor", name)
        return str(found.id)

    def create(
        self,
        session: Connection,
        order: Order,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Server:
        """Order an instance; waits while the quota is used up. Raises TestbedError, CancelledRun."""
        wanted = self._wanted(session, order)
        deadline, told = time.monotonic() + self.host.quota_timeout, False
        while True:
            try:
                return session.compute.create_server(**wanted)
            except ForbiddenException as error:
                if "quota" not in str(error).lower():
                    raise
                if time.monotonic() > deadline:
                    raise TestbedError(
                        f"host {self.host.name}: {_brief(error)}",
                        resolution="Ask for more, or give this host fewer slots.",
                    ) from error
                if not told:
                    note(f"waiting: {_brief(error)}")
                    told = True
            _pause(_QUOTA_LOOK, cancelled)

    def wait(
        self, session: Connection, server: Server, deadline: float, cancelled: Callable[[], bool]
    ) -> str:
        """Until it runs; gives its address. Raises TestbedError, CancelledRun.

        ``deadline`` is in seconds of `time.monotonic`.
        """
        while True:
            found = session.compute.get_server(server.id)
            if found.status == "ACTIVE" and (address := self._address(found)):
                return address
            if found.status == "ERROR":
                raise self.trouble(session, found, str((found.fault or {}).get("message", "no reason given")))
            if time.monotonic() > deadline:
                raise self.trouble(session, found, f"{found.status.lower()} for too long")
            _pause(_LOOK, cancelled)

    def trouble(self, session: Connection, server: Server, problem: str) -> TestbedError:
        """What an instance failed by, with the end of its console."""
        try:
            said = session.compute.get_server_console_output(server.id, length=_CONSOLE_LINES)
            console = str(said.get("output", "")) if isinstance(said, dict) else str(said)
        except (SDKException, ClientException):  # it may not have one yet
            console = ""
        return TestbedError(
            f"host {self.host.name}: instance {server.name}: {problem}",
            details=f"the end of its console:\n{console}" if console.strip() else "",
            resolution="If it is always so: look at the image, the flavor and the cloud.",
        )

    def delete(self, session: Connection, server_id: str) -> None:
        """Have an instance deleted; it may be gone already."""
        session.compute.delete_server(server_id, ignore_missing=True)

    def instances(self, session: Connection) -> list[Server]:
        """All whose names begin as ours do."""
        found = session.compute.servers(details=True, name=f"^{PREFIX}")
        return [server for server in found if server.name.startswith(PREFIX)]

    def mark(self, session: Connection, server_id: str, **marks: str) -> None:
        """Write into an instance's metadata; one that is gone is none of our business."""
        try:
            session.compute.set_server_metadata(server_id, **marks)
        except NotFoundException:
            return

    def problems(self, session: Connection) -> list[tuple[str, str]]:
        """What the project lacks, and how that is mended."""
        host = self.host
        found: list[tuple[str, str]] = []
        for names, kind, find in (
            ((host.flavor, host.big_flavor), "flavor", session.compute.find_flavor),
            ((host.network,), "network", session.network.find_network),
            (host.security_groups, "security group", session.network.find_security_group),
            ((host.server_group,), "server group", session.compute.find_server_group),
            ((host.keypair,), "keypair", session.compute.find_keypair),
        ):
            for name in filter(None, names):
                if find(name) is None:
                    found.append(
                        (f"the cloud has no {kind} {name}", f"make it, or name another: {host.name}")
                    )
        for release in host.releases:
            for architecture in host.architectures:
                try:
                    self.find_image(session, release, architecture)
                except LastingTestbedError as error:
                    found.append((error.brief, error.resolution))
        return found

    def _wanted(self, session: Connection, order: Order) -> dict[str, Any]:
        host = self.host
        network = session.network.find_network(host.network)
        if network is None:
            raise self._missing("network", host.network)
        wanted: dict[str, Any] = {
            "name": order.name,
            "image_id": order.image,
            "flavor_id": order.flavor,
            "networks": [{"uuid": network.id}],
            "security_groups": [{"name": name} for name in host.security_groups],
            "user_data": _encoded(order.user_data),
            "metadata": dict(order.metadata),
            "tags": [TAG],
        }
        if host.server_group:
            group = session.compute.find_server_group(host.server_group)
            if group is None:
                raise self._missing("server group", host.server_group)
            wanted["scheduler_hints"] = {"group": group.id}
        if host.keypair:
            wanted["key_name"] = host.keypair
        if host.availability_zone:
            wanted["availability_zone"] = host.availability_zone
        return wanted

    def _address(self, server: Server) -> str:
        """Its first fixed address of the family that is used; empty if it has none yet."""
        for addresses in (server.addresses or {}).values():
            for one in addresses:
                fixed = one.get("OS-EXT-IPS:type", "fixed") == "fixed"
                if fixed and one.get("version") == self.host.address_family:
                    return str(one["addr"])
        return ""

    def _missing(self, kind: str, name: str) -> LastingTestbedError:
        return LastingTestbedError(
            f"host {self.host.name}: the cloud has no {kind} {name}",
            resolution=f"Make it there, or see to this host's settings in worker.hosts ({kind}).",
        )


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _brief(error: Exception) -> str:
    """One line of what the cloud said."""
    details = getattr(error, "details", None) or str(error)
    return " ".join(str(details).split())[:300]


def _pause(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if cancelled():
            raise CancelledRun("the worker was told to stop")
        time.sleep(0.2)
