# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command import-rc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.tools.rcfiles import clouds_yaml, merged, read_rc, stage_part
from testyard.cli.edge import UsageError, explained, say
from testyard.local.files import write_private


@explained
def import_rc(
    files: Annotated[list[Path], typer.Argument(metavar="REGION[-ARCH].rc…", help="Files that set OS_*.")],
    clouds: Annotated[
        Path, typer.Option("--clouds", metavar="FILE", help="The clouds.yaml to write, mode 0600.")
    ] = Path("clouds.yaml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
) -> None:
    """Make a clouds.yaml of old rc files, and print regions for a stage's file. Nothing in them is run."""
    if clouds.exists() and not dry_run:
        raise UsageError(f"--clouds: {clouds} is there already", resolution="Name another file.")
    found = merged(read_rc(path) for path in files)
    if not dry_run:
        write_private(clouds, clouds_yaml(found))
        say(f"{clouds} has {len(found)} clouds, with their secrets; openstacksdk looks for it where you are,")
        say("in ~/.config/openstack and /etc/openstack, or where OS_CLIENT_CONFIG_FILE says.")
    typer.echo(stage_part(found), nl=False)
