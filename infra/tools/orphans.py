# SPDX-License-Identifier: AGPL-3.0-or-later
"""What takes up a project's quota and is of no use: detached volumes, stray instances, ports, old images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import EndpointNotFound

from infra.settings import Settings
from infra.settings.needs import uses

#: Days after which an image of ours that no instance runs, and that is not its name's newest, is old.
IMAGE_DAYS = 30.0
#: What instances of testbeds are named like (worker/testbed/cloud.py); their workers see to them.
_TESTBEDS = "testyard-"


@dataclass(frozen=True)
class Orphan:
    """``kind``: volume, instance, port, floating ip or image; ``age`` in days; ``cost``: what it takes."""

    kind: str
    id: str
    name: str
    age: float
    cost: str
    why: str


def orphans(session: Connection, settings: Settings, *, now: datetime | None = None) -> tuple[Orphan, ...]:
    """Those of a project; what is not named as this stage's is left out. Raises SDKException."""
    moment = now or datetime.now(UTC)
    mine = f"{settings.prefix}-"
    found = (
        *_volumes(session, mine, moment),
        *_instances(session, settings, mine, moment),
        *_ports(session, mine, moment),
        *_addresses(session, mine, moment),
        *_images(session, moment),
    )
    return tuple(sorted(found, key=lambda one: (one.kind, -one.age)))


def remove(session: Connection, orphan: Orphan) -> None:
    """Delete it; it may be gone already. Raises SDKException."""
    delete: dict[str, Callable[..., Any]] = {
        "volume": session.block_storage.delete_volume,
        "instance": session.compute.delete_server,
        "port": session.network.delete_port,
        "floating ip": session.network.delete_ip,
        "image": session.image.delete_image,
    }
    delete[orphan.kind](orphan.id, ignore_missing=True)


def _volumes(session: Connection, mine: str, now: datetime) -> Iterator[Orphan]:
    try:
        volumes = list(session.block_storage.volumes())
    except EndpointNotFound:  # a cloud without volumes
        return
    for volume in volumes:
        if volume.status == "available" and (volume.name or "").startswith(mine):
            age = _days(volume.updated_at or volume.created_at, now)
            yield Orphan("volume", volume.id, volume.name, age, f"{volume.size} GiB", "no instance has it")


def _instances(session: Connection, settings: Settings, mine: str, now: datetime) -> Iterator[Orphan]:
    most = sum(use.count for use in uses(settings))
    servers = [server for server in session.compute.servers() if server.name.startswith(mine)]
    for server in servers:
        cost = f"{server.flavor.vcpus} cores, {(server.flavor.ram or 0) // 1024} GiB"
        age = _days(server.created_at, now)
        if server.status == "ERROR":
            yield Orphan("instance", server.id, server.name, age, cost, "it is in status ERROR")
        elif len(servers) > most and server.status == "SHUTOFF":
            why = f"it is shut off, and the settings have {most} instances"
            yield Orphan("instance", server.id, server.name, age, cost, why)


def _ports(session: Connection, mine: str, now: datetime) -> Iterator[Orphan]:
    for port in session.network.ports(project_id=session.current_project_id):
        if not port.device_id and (port.name or "").startswith(mine):
            yield Orphan(
                "port", port.id, port.name, _days(port.created_at, now), "an address", "nothing has it"
            )


def _addresses(session: Connection, mine: str, now: datetime) -> Iterator[Orphan]:
    for address in session.network.ips(project_id=session.current_project_id):
        if not address.port_id and (address.description or "").startswith(mine):
            name, age = address.floating_ip_address, _days(address.created_at, now)
            yield Orphan("floating ip", address.id, name, age, "a public address", "no port has it")


def _images(session: Connection, now: datetime) -> Iterator[Orphan]:
    """Of ours, those that a newer one of the same name has replaced."""
    own = [
        image
        for image in session.image.images(owner=session.current_project_id, sort="created_at:desc")
        if image.name.startswith("testyard")
    ]
    in_use = {(server.image or {}).get("id") for server in session.compute.servers()}
    newest: set[str] = set()
    for image in own:
        age = _days(image.created_at, now)
        if image.name in newest and image.id not in in_use and age > IMAGE_DAYS:
            cost = f"{(image.size or 0) / 2**30:.1f} GiB"
            yield Orphan("image", image.id, image.name, age, cost, "a newer one has its name")
        newest.add(image.name)


def _days(text: str | None, now: datetime) -> float:
    if not text:
        return 0.0
    moment = datetime.fromisoformat(text)
    return (now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds() / 86400
