# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong with settings of which each part is right: all of it, each with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from infra.settings.addresses import LONGEST_PREFIX, pool_size
from infra.settings.base import Architecture, Stage
from infra.settings.needs import Use, uses
from infra.settings.region import Region
from infra.settings.sizes import BIG, SMALL
from infra.settings.stage import Settings


@dataclass(frozen=True)
class Problem:
    """``key`` is as in the file; a table of a list is named by its ``name``."""

    key: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}. {self.remedy}"


def problems(settings: Settings) -> Iterator[Problem]:
    """All of them, in the order of the file."""
    yield from _stage(settings)
    yield from _networks(settings)
    yield from _sizes(settings)
    for region in settings.regions:
        yield from _images(settings, region)
        yield from _testers(settings, region)
        yield from _room(settings, region)


def _stage(settings: Settings) -> Iterator[Problem]:
    known = [region.name for region in settings.regions]
    if settings.services.region not in (None, *known):
        yield Problem(
            "services.region",
            f"no region {settings.services.region}",
            f"Name one of {', '.join(known)}, or leave it out for {known[0]}.",
        )
    if settings.services.architecture.machine is not settings.services.architecture:
        wanted = settings.services.architecture.machine
        yield Problem("services.architecture", "no cloud has instances of it", f"Write {wanted}.")
    if settings.balancer.tls == "none" and settings.stage is not Stage.DEVEL:
        yield Problem(
            "balancer.tls",
            f"none, and {settings.stage} is no place for tokens and sessions in clear",
            "Write acme (with host, acme_email and public = true), or files.",
        )
    if len(settings.regions) > 1 and not settings.broker.clients:
        yield Problem(
            "broker.clients",
            f"none, so the workers of {settings.regions[-1].name} cannot reach the broker",
            "Add the networks from which the other regions' routers connect.",
        )
    if (settings.broker.clients or len(settings.regions) > 1) and not settings.broker.host:
        yield Problem(
            "broker.host",
            "missing, and its certificate is for the name by which those outside connect",
            "Write a name, and have it lead to the floating addresses (outputs of the stack broker).",
        )


def _networks(settings: Settings) -> Iterator[Problem]:
    for one, other in combinations(settings.regions, 2):
        if one.subnet.overlaps(other.subnet):
            yield Problem(
                f"regions.{other.name}.subnet",
                f"{other.subnet} overlaps {one.subnet} of {one.name}",
                "Give each region a range of its own.",
            )
    for region in settings.regions:
        for admin in settings.admin_networks:
            # everyone may be meant, a testbed's neighbour never
            if admin.prefix.version == 4 and admin.prefix.prefixlen and admin.prefix.overlaps(region.subnet):
                yield Problem(
                    f"admin_networks.{admin.name}.prefix",
                    f"{admin.prefix} overlaps the subnet of {region.name}, so tests could knock at ssh",
                    "Name the network that people come from.",
                )


def _sizes(settings: Settings) -> Iterator[Problem]:
    sizes = settings.flavors.sizes
    for use in uses(settings):
        size = sizes.get(use.size)
        if size is None:
            yield Problem(use.key, f"no size {use.size}", f"Name one of {', '.join(sizes)}, or add it there.")
            continue
        short = [
            f"{has} GiB of {what}, and {use.what} needs {wanted}"
            for what, has, wanted in (("ram", size.ram, use.ram), ("disk", size.disk, use.disk))
            if has < wanted
        ]
        if short:
            yield Problem(
                use.key, f"size {use.size} is too small: {'; '.join(short)}", _remedy(use, settings)
            )
    small, big = sizes[SMALL], sizes[BIG]
    if (big.cpus, big.ram, big.disk) < (small.cpus, small.ram, small.disk):
        yield Problem("flavors.sizes.big", "smaller than small", "Big packages need more than others.")


def _remedy(use: Use, settings: Settings) -> str:
    names = [n for n, size in settings.flavors.sizes.items() if size.ram >= use.ram and size.disk >= use.disk]
    other = f"Take {' or '.join(names)}" if names else "Add a larger size to flavors.sizes"
    return f"{other}, or fewer slots." if use.slots else f"{other}."


def _images(settings: Settings, region: Region) -> Iterator[Problem]:
    wanted = {(group.machine, False) for group in region.lxd_hosts}
    wanted |= {(group.machine, True) for group in region.worker_groups}
    if region is settings.home:
        wanted.add((settings.services.architecture, False))
    for architecture, worker in sorted(wanted):
        if not settings.image(region, architecture, worker=worker):
            yield Problem(
                f"regions.{region.name}.images.{architecture}",
                "no image is named",
                "Name one there, or set images.base.",
            )


def _testers(settings: Settings, region: Region) -> Iterator[Problem]:
    key = f"regions.{region.name}"
    served: set[Architecture] = set()
    by_lxd = {each for group in region.lxd_hosts if group.count for each in group.architectures}
    for group in region.worker_groups:
        where = f"{key}.workers.{group.name}"
        can = tuple(by_lxd) if group.testbed == "lxd" else (group.machine,)
        if group.testbed == "lxd" and not by_lxd:
            yield Problem(
                f"{where}.testbed", "there are no LXD hosts in the region", f"Add a table to {key}.lxd."
            )
        served |= set(group.architectures or can) if group.count else set()
        yield from _known(f"{where}.releases", group.releases, settings.topology.releases)
        yield from _known(f"{where}.contexts", group.contexts, settings.topology.contexts)
    for hosts in region.lxd_hosts:
        yield from _known(f"{key}.lxd.{hosts.name}.releases", hosts.releases, settings.topology.releases)
        odd = [each for each in hosts.architectures if each not in region.architectures]
        yield from _known(f"{key}.lxd.{hosts.name}.architectures", odd, region.architectures)
    for group in region.worker_groups:
        odd = [each for each in group.architectures if each not in region.architectures]
        yield from _known(f"{key}.workers.{group.name}.architectures", odd, region.architectures)
    if by_lxd and not any(group.testbed == "lxd" and group.count for group in region.worker_groups):
        yield Problem(f"{key}.lxd", "no worker uses these hosts", f'Add {key}.workers with testbed = "lxd".')
    if left := [each for each in region.architectures if each not in served]:
        yield Problem(
            f"{key}.architectures",
            f"nobody tests {', '.join(left)}",
            f"Add {key}.workers for it, or for armhf {key}.lxd, or take it from the list.",
        )


def _known(
    key: str, given: tuple[str, ...] | list[Architecture], known: tuple[str, ...]
) -> Iterator[Problem]:
    for each in given:
        if each not in known:
            yield Problem(key, f"{each} is not tested here", f"Known: {', '.join(known)}.")


def _room(settings: Settings, region: Region) -> Iterator[Problem]:
    key = f"regions.{region.name}.subnet"
    if region.subnet.prefixlen > LONGEST_PREFIX:
        yield Problem(key, f"{region.subnet} is too small", f"A /{LONGEST_PREFIX} is the smallest.")
        return
    wanted = sum(group.count for group in region.lxd_hosts)
    wanted += sum(group.count for group in region.worker_groups)
    if wanted > pool_size(region.subnet):
        yield Problem(
            key,
            f"{region.subnet} has {pool_size(region.subnet)} addresses for {wanted} workers and LXD hosts",
            "Take a larger range.",
        )
