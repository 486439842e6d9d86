# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much of a cloud a stage takes, from its settings alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from infra.settings import Region, Settings
from infra.settings.needs import uses
from infra.settings.sizes import BIG, SMALL, Size

#: The rule by which quotas used to be asked for: so much more than all slots of the usual size.
FLAT_MARGIN = 0.1


@dataclass(frozen=True)
class Need:
    """Amounts by OpenStack's names. ``ram``, ``disk`` (of flavors) and ``gigabytes`` (of volumes) are GiB."""

    instances: int = 0
    cores: int = 0
    ram: int = 0
    disk: int = 0
    volumes: int = 0
    gigabytes: int = 0
    floating_ips: int = 0

    def __add__(self, other: Need) -> Need:
        mine, theirs = asdict(self), asdict(other)
        return Need(**{name: mine[name] + theirs[name] for name in mine})

    def with_margin(self, share: float) -> Need:
        """So much more of each, rounded up: 0.1 is a tenth."""
        # 220.00000000000003 is 220
        return Need(
            **{name: math.ceil(round(value * (1 + share), 6)) for name, value in asdict(self).items()}
        )


def of_size(size: Size, count: int) -> Need:
    """That many instances of a size."""
    return Need(
        instances=count,
        cores=count * size.cpus,
        ram=count * size.ram,
        disk=count * (size.disk + size.ephemeral),
    )


def of_testbeds(settings: Settings, slots: int, big: int) -> Need:
    """Testbeds in instances: ``slots`` at the same time, ``big`` of which are for large packages."""
    sizes = settings.flavors.sizes
    return of_size(sizes[SMALL], slots - big) + of_size(sizes[BIG], big)


def by_flat_rule(settings: Settings, slots: int) -> Need:
    """What the old rule makes of so many slots: all of the usual size, and a tenth more."""
    flat = of_size(settings.flavors.sizes[SMALL], slots).with_margin(FLAT_MARGIN)
    return replace(flat, instances=slots)


def of_region(settings: Settings, region: Region) -> Need:
    """All that stands in a region for long."""
    sizes = settings.flavors.sizes
    found = total(of_size(sizes[use.size], use.count) for use in uses(settings) if use.region is region)
    if region is not settings.home:
        return found
    broker, database = settings.broker, settings.database
    balancer = settings.balancer
    volumes = Need(
        volumes=broker.nodes + 1,
        gigabytes=broker.nodes * broker.volume + database.volume,
        floating_ips=(broker.nodes if broker.clients else 0) + int(balancer.public),
    )
    return found + volumes


def total(needs: Iterable[Need]) -> Need:
    """All together."""
    found = Need()
    for need in needs:
        found += need
    return found
