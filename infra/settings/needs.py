# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which sizes are used for what, and what is needed there at least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.settings.base import Architecture
from infra.settings.region import Region
from infra.settings.sizes import BIG, SMALL, Size
from infra.settings.stage import Settings

#: GiB of memory and disk that a machine needs for itself, and for each test (tests/packages/ty-pass in
#: each kind of testbed, with room for larger packages).
_OWN = (1, 8)
_EACH = {"unshare": (1, 4), "chroot": (1, 4), "qemu": (2, 6), "lxd": (0, 0)}


@dataclass(frozen=True)
class Use:
    """``count`` instances of a size in a region; ``ram`` and ``disk`` (GiB) are the least that will do."""

    key: str
    what: str
    region: Region
    size: str
    machine: Architecture
    count: int
    ram: int
    disk: int
    slots: int = 0


def uses(settings: Settings) -> Iterator[Use]:
    """All instances that are to stand for long; testbeds are not among them."""
    yield from _services(settings)
    small = settings.flavors.sizes[SMALL]
    for region in settings.regions:
        yield from _hosts(region, small)
        yield from _workers(region)


def _services(settings: Settings) -> Iterator[Use]:
    def use(name: str, what: str, size: str, count: int, ram: int) -> Use:
        home, machine = settings.home, settings.services.architecture
        return Use(f"{name}.flavor", what, home, size, machine, count, ram=ram, disk=_OWN[1])

    functions = settings.functions
    yield use("broker", "RabbitMQ", settings.broker.flavor, settings.broker.nodes, 2)
    yield use("database", "PostgreSQL", settings.database.flavor, 1, 2)
    # 80 to 250 MB each
    yield use(
        "functions", "all functions", functions.flavor, functions.count, 1 + (len(functions.which) + 3) // 4
    )
    yield use("web", "the site", settings.web.flavor, settings.web.count, 1)
    if settings.balancer.kind == "haproxy":
        yield use("balancer", "haproxy", settings.balancer.flavor, 1, 1)


def _hosts(region: Region, small: Size) -> Iterator[Use]:
    for group in region.lxd_hosts:
        yield Use(
            f"regions.{region.name}.lxd.{group.name}.flavor",
            f"LXD with {group.slots} slots of {small.ram} GiB of ram and {small.disk} of disk",
            region,
            group.flavor,
            group.machine,
            group.count,
            # containers of a test that does nothing take 60 MB; all seldom want all of theirs at once
            ram=2 + group.slots * small.ram // 2,
            disk=20 + group.slots * small.disk,
            slots=group.slots,
        )


def _workers(region: Region) -> Iterator[Use]:
    for group in region.worker_groups:
        ram, disk = _EACH[group.testbed]
        yield Use(
            f"regions.{region.name}.workers.{group.name}.flavor",
            f"a worker with {group.slots} slots of {group.testbed}",
            region,
            group.flavor,
            group.machine,
            group.count,
            ram=_OWN[0] + group.slots * ram,
            disk=_OWN[1] + group.slots * disk,
            slots=group.slots,
        )


def flavors(settings: Settings, region: Region) -> dict[str, Size]:
    """The flavors of a region by their names: of what stands there, and of testbeds."""
    wanted = {(use.size, use.machine) for use in uses(settings) if use.region is region and use.count}
    wanted |= {(size, machine) for size in (SMALL, BIG) for machine in region.machines}
    named = {settings.flavors.name(size, machine): settings.flavors.sizes[size] for size, machine in wanted}
    return dict(sorted(named.items()))
