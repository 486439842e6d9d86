# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names of workers, and which of them has which LXD hosts: each host one worker, none two."""

from __future__ import annotations

from infra.settings.region import LxdHosts, Region, Workers
from infra.settings.stage import Settings


def worker_name(region: Region, group: Workers, number: int) -> str:
    """A worker's name everywhere; no two regions' have the same."""
    return f"{region.name.lower()}-{group.name}-{number}"


def shares(settings: Settings, region: Region) -> dict[str, list[str]]:
    """Worker → names of its LXD hosts. Another host at the end moves none; another worker moves some."""
    found: dict[str, list[str]] = {}
    for group in region.worker_groups:
        if group.testbed != "lxd":
            continue
        workers = [worker_name(region, group, number) for number in range(1, group.count + 1)]
        found |= {worker: [] for worker in workers}
        hosts = [
            f"{hosts.name}-{number}"
            for hosts in region.lxd_hosts
            if _fits(group, hosts)
            for number in range(1, hosts.count + 1)
        ]
        for index, host in enumerate(hosts):
            if workers:
                found[workers[index % len(workers)]].append(host)
    return found


def _fits(group: Workers, hosts: LxdHosts) -> bool:
    return not group.architectures or set(hosts.architectures) <= set(group.architectures)
