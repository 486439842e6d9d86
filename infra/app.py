# SPDX-License-Identifier: AGPL-3.0-or-later
"""The story: from the settings of a stage to its stacks."""

from __future__ import annotations

from pathlib import Path

from cdktf import App

from infra.settings import Region, Settings
from infra.stacks.base import RegionStack
from infra.stacks.broker import BrokerStack
from infra.stacks.database import DatabaseStack
from infra.stacks.flavors import FlavorsStack
from infra.stacks.functions import FunctionsStack
from infra.stacks.identity import IdentityStack
from infra.stacks.lxd_hosts import LxdHostsStack
from infra.stacks.network import NetworkStack
from infra.stacks.results import ResultsStack
from infra.stacks.web import WebStack
from infra.stacks.workers import WorkersStack


def build(settings: Settings, *, outdir: Path | None = None) -> App:
    """All stacks of a stage, ready for ``synth()``.

    ``outdir`` is where the files go; without it ``CDKTF_OUTDIR``, else ./cdktf.out.
    """
    app = App(outdir=str(outdir) if outdir else None)
    results = ResultsStack(app, settings=settings, region=settings.home)
    # the home region first: the others' workers need what stands there
    for region in sorted(settings.regions, key=lambda region: region is not settings.home):
        _build_region(app, settings, region, results)
    return app


def _build_region(app: App, settings: Settings, region: Region, results: ResultsStack) -> None:
    network = NetworkStack(app, settings=settings, region=region)
    ground: list[RegionStack] = [network, IdentityStack(app, settings=settings, region=region)]
    if settings.flavors.create:
        ground.append(FlavorsStack(app, settings=settings, region=region))
    if region is settings.home:
        _build_services(app, settings, region, network, ground)
    # also with no host left: the inventory says so
    if region.lxd_hosts:
        hosts = LxdHostsStack(app, settings=settings, region=region)
        _after(hosts, *ground, results)
    if region.worker_groups:
        _after(WorkersStack(app, settings=settings, region=region), *ground)


def _build_services(
    app: App, settings: Settings, region: Region, network: NetworkStack, ground: list[RegionStack]
) -> None:
    _after(BrokerStack(app, settings=settings, region=region, network=network), *ground)
    _after(DatabaseStack(app, settings=settings, region=region), *ground)
    _after(FunctionsStack(app, settings=settings, region=region), *ground)
    _after(WebStack(app, settings=settings, region=region, network=network), *ground)


def _after(stack: RegionStack, *others: RegionStack) -> None:
    """Names of networks, groups, key pairs and flavors are known; that they exist takes an order."""
    for other in others:
        stack.add_dependency(other)
