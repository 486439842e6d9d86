# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a stage needs of each region against what the cloud grants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from openstack.connection import Connection
from openstack.exceptions import EndpointNotFound, NotFoundException

from infra.settings import Settings
from infra.tools.need import Need

#: GiB of Nova's ram are MiB.
_MIB = 1024


@dataclass(frozen=True)
class Line:
    """One resource: ``quota`` is None where the cloud has none; ``others`` is what is not this stage's."""

    name: str
    need: int
    quota: int | None
    others: int

    @property
    def missing(self) -> int:
        """How much more the quota must be."""
        return 0 if self.quota is None else max(0, self.need + self.others - self.quota)


@dataclass(frozen=True)
class Granted:
    """A project's quotas, and what of them others than this stage use; by the names of `Need`."""

    quotas: dict[str, int]
    others: dict[str, int]


def compared(need: Need, granted: Granted) -> tuple[Line, ...]:
    """All resources of which something is needed."""
    return tuple(
        Line(name, value, granted.quotas.get(name), granted.others.get(name, 0))
        for name, value in asdict(need).items()
        if value
    )


def granted(session: Connection, settings: Settings) -> Granted:
    """What the connection's project may have. Raises SDKException."""
    project = session.current_project_id or ""
    compute = session.compute.get_quota_set(project)
    network = session.network.get_quota(project)
    quotas = {
        "instances": compute.instances,
        "cores": compute.cores,
        "ram": compute.ram if compute.ram is None or compute.ram < 0 else compute.ram // _MIB,
        "floating_ips": network.floating_ips,
    }
    others = _of_servers(session, settings)
    others["floating_ips"] = _count(
        address
        for address in session.network.ips(project_id=project)
        if not _ours(address.description, settings)
    )
    try:
        storage = session.block_storage.get_quota_set(project)
    except (EndpointNotFound, NotFoundException):  # a cloud without volumes
        quotas |= {"volumes": 0, "gigabytes": 0}
    else:
        quotas |= {"volumes": storage.volumes, "gigabytes": storage.gigabytes}
        theirs = [each for each in session.block_storage.volumes() if not _ours(each.name, settings)]
        others |= {"volumes": len(theirs), "gigabytes": sum(each.size for each in theirs)}
    # -1 is without limit
    return Granted(
        {name: value for name, value in quotas.items() if value is not None and value >= 0}, others
    )


def _of_servers(session: Connection, settings: Settings) -> dict[str, int]:
    theirs = [server for server in session.compute.servers() if not _ours(server.name, settings)]
    return {
        "instances": len(theirs),
        "cores": sum(server.flavor.vcpus or 0 for server in theirs),
        "ram": sum(server.flavor.ram or 0 for server in theirs) // _MIB,
    }


def _ours(name: str | None, settings: Settings) -> bool:
    return (name or "").startswith(f"{settings.prefix}-")


def _count(items: Iterable[object]) -> int:
    return sum(1 for _ in items)
