# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard infra``: the operators' commands, which are the room infra's own: it depends on us."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import typer

from testyard.cli.edge import explained
from testyard.errors import TestyardError

#: What infra needs and the rest does not.
_NEEDED = ("infra", "openstack")


@explained
def infra(context: typer.Context) -> None:
    """Quotas, what is left over, old credentials: for operators of a cloud. See `testyard infra --help`."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise TestyardError(
            "What infra needs is not installed.",
            resolution="In the source tree: .venv/bin/pip install -e '.[infra]'",
        )
    done = subprocess.run([sys.executable, "-m", "infra.tools", *context.args], check=False)
    raise typer.Exit(done.returncode)
