# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a stage consists of, as JSON for programs: ``python -m infra --describe``. Needs no node.

Programs that deploy read it in place of the settings: stacks in the order in which they are made,
instances with their sizes and the files that they wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra import secrets
from infra.settings import LxdHosts, Region, Settings
from infra.settings.needs import flavors
from infra.settings.sharing import worker_name
from infra.settings.sizes import BIG, SMALL


def describe(settings: Settings) -> dict[str, Any]:
    """``waits_for`` of an instance are names of files, ``files`` those that follow from the settings."""
    home = settings.home
    regions = sorted(settings.regions, key=lambda region: region is not home)
    return {
        "stage": settings.stage,
        "prefix": settings.prefix,
        "home": home.name,
        "broker_host": settings.broker.host,
        "balancer_host": settings.balancer.host,
        "regions": [_region(settings, region) for region in regions],
    }


def _region(settings: Settings, region: Region) -> dict[str, Any]:
    instances = list(_instances(settings, region))
    return {
        "name": region.name,
        "cloud": region.cloud,
        "stacks": [f"{kind}-{region.name}" for kind in _stacks(settings, region)],
        "instances": instances,
        "volumes": {
            each["name"]: settings.broker.volume if each["kind"] == "broker" else settings.database.volume
            for each in instances
            if each["kind"] in ("broker", "database")
        },
        "slots": {
            group.name: group.slots * group.count for group in region.worker_groups if group.testbed != "lxd"
        },
        "flavors": {name: size.model_dump() for name, size in flavors(settings, region).items()},
        "testbeds": {
            size: {str(each): settings.flavors.name(size, each) for each in region.machines}
            for size in (SMALL, BIG)
        },
    }


def _stacks(settings: Settings, region: Region) -> Iterator[str]:
    """Each after those that it needs."""
    home = region is settings.home
    yield from ("network", "identity")
    if settings.flavors.create:
        yield "flavors"
    if home:
        yield from ("results", "broker", "database", "functions", "web")
    if region.lxd_hosts:
        yield "lxd-hosts"
    if region.worker_groups:
        yield "workers"


def _instances(settings: Settings, region: Region) -> Iterator[dict[str, Any]]:
    if region is settings.home:
        yield from _services(settings, region)
    for hosts in region.lxd_hosts:
        for number in range(1, hosts.count + 1):
            name = f"{hosts.name}-{number}"
            files = secrets.lxd_host_files()
            flavor = settings.flavors.name(hosts.flavor, hosts.machine)
            yield _instance(settings, region, "lxd-host", name, flavor=flavor, files=files, group=hosts)
    for workers in region.worker_groups:
        for number in range(1, workers.count + 1):
            name = worker_name(region, workers, number)
            files = secrets.worker_files(workers)
            flavor = settings.flavors.name(workers.flavor, workers.machine)
            yield _instance(settings, region, "worker", name, flavor=flavor, files=files)


def _services(settings: Settings, region: Region) -> Iterator[dict[str, Any]]:
    balancer = settings.balancer
    rows: list[tuple[str, str, int, tuple[str, ...]]] = [
        ("broker", settings.broker.flavor, settings.broker.nodes, secrets.broker_files()),
        ("database", settings.database.flavor, 1, secrets.database_files()),
        (
            "functions",
            settings.functions.flavor,
            settings.functions.count,
            secrets.functions_files(settings),
        ),
        ("web", settings.web.flavor, settings.web.count, secrets.web_files()),
        ("balancer", balancer.flavor, int(balancer.kind == "haproxy"), secrets.balancer_files(settings)),
    ]
    for kind, size, count, files in rows:
        flavor = settings.flavors.name(size, settings.services.architecture)
        for number in range(1, count + 1):
            name = kind if kind in ("database", "balancer") else f"{kind}-{number}"
            yield _instance(settings, region, kind, name, flavor=flavor, files=files)


#: Kind → stack, where they differ.
_STACKS = {"lxd-host": "lxd-hosts", "worker": "workers", "balancer": "web"}


def _instance(
    settings: Settings,
    region: Region,
    kind: str,
    name: str,
    *,
    flavor: str,
    files: tuple[str, ...],
    group: LxdHosts | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "stack": f"{_STACKS.get(kind, kind)}-{region.name}",
        "flavor": flavor,
        "waits_for": sorted(files),
        "files": secrets.made_files(settings, group),
    }
