# SPDX-License-Identifier: AGPL-3.0-or-later
"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from infra.settings import Region, Settings
from testyard.cli.edge import UsageError

StageArgument = Annotated[
    str, typer.Argument(metavar="STAGE", help="devel, staging, production, or a TOML file of your own.")
]
RegionOption = Annotated[str, typer.Option("--region", metavar="NAME", help="Only this one.")]


def regions_of(settings: Settings, name: str) -> Iterator[Region]:
    """Those of a stage, or the one that was named. Raises UsageError."""
    found = [region for region in settings.regions if name in ("", region.name)]
    if not found:
        names = ", ".join(region.name for region in settings.regions)
        raise UsageError(f"--region: {name!r} is none of {names}")
    yield from found
