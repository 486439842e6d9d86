# SPDX-License-Identifier: AGPL-3.0-or-later
"""What would make a deployment fail half-way, found before it begins: names the cloud lacks, quotas."""

from __future__ import annotations

from openstack.connection import Connection

from infra.settings import Region, Settings
from infra.settings.needs import flavors, uses
from infra.tools.need import of_region
from infra.tools.quota import compared, granted


def problems(session: Connection, settings: Settings, region: Region) -> tuple[str, ...]:
    """A line for each, naming the setting and what would be right. Raises SDKException."""
    return (
        *_network(session, region),
        *_images(session, settings, region),
        *_flavors(session, settings, region),
        *_quotas(session, settings, region),
    )


def _network(session: Connection, region: Region) -> list[str]:
    if session.network.find_network(region.external_network):
        return []
    there = ", ".join(sorted(network.name for network in session.network.networks(is_router_external=True)))
    return [
        f"regions.{region.name}.external_network: the cloud has no {region.external_network};"
        f" it has {there or 'none'}"
    ]


def _images(session: Connection, settings: Settings, region: Region) -> list[str]:
    wanted = {
        (settings.image(region, use.machine, worker=".workers." in use.key), use.machine)
        for use in uses(settings)
        if use.region is region and use.count
    }
    found = []
    for name, machine in sorted(wanted):
        if not list(session.image.images(name=name, status="active", limit=1)):
            found.append(
                f"images: {region.name} has no image {name}; upload one for {machine}, or name another in "
                f"images.base, images.worker or regions.{region.name}.images"
            )
    return found


def _flavors(session: Connection, settings: Settings, region: Region) -> list[str]:
    if settings.flavors.create:
        return []
    there = {flavor.name for flavor in session.compute.flavors()}
    return [
        f"flavors: {region.name} has no flavor {name}; have it made, or set flavors.create"
        for name in flavors(settings, region)
        if name not in there
    ]


def _quotas(session: Connection, settings: Settings, region: Region) -> list[str]:
    return [
        f"regions.{region.name}: the quota of {line.name} is {line.quota}, others use {line.others}, "
        f"{line.need} are needed: ask for {line.missing} more (testyard infra quota)"
        for line in compared(of_region(settings, region), granted(session, settings))
        if line.missing
    ]
