# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder from which terraform takes the stand-in as if it were the official provider."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from tests.openstack.provider.bindings import read_catalogue
from tests.openstack.provider.schema import dump_catalogue

ADDRESS = "registry.terraform.io/terraform-provider-openstack/openstack"
# the bindings are made from the first and pin it; our stacks want one from the second on
VERSIONS = ("3.0.0", "3.4.0")
ROOT = Path(__file__).resolve().parents[3]
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def install(mirror: Path, python: Path) -> None:
    """Lay out a file system mirror with the provider, to be run by ``python`` (of .venv-provider)."""
    mirror.mkdir(parents=True, exist_ok=True)
    catalogue = mirror / "catalogue.json"
    catalogue.write_text(json.dumps(dump_catalogue(read_catalogue())), encoding="utf-8")
    target = f"linux_{_MACHINES.get(platform.machine(), platform.machine())}"
    for version in VERSIONS:
        program = mirror / ADDRESS / version / target / f"terraform-provider-openstack_v{version}"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(_program(python, catalogue), encoding="utf-8")
        program.chmod(0o755)


def _program(python: Path, catalogue: Path) -> str:
    """A Python program; its first line is a shell's, as a kernel's would be cut at 127 characters."""
    return f"""#!/bin/sh
'''exec' '{python}' "$0" "$@" #'''
import sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = [sys.argv[0], {str(catalogue)!r}]
from tests.openstack.provider.__main__ import main
main()
"""


def write_rc(file: Path, mirror: Path) -> None:
    """terraform's settings (TF_CLI_CONFIG_FILE): this provider from ``mirror``, others as ever."""
    file.write_text(
        f"""disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path    = {json.dumps(str(mirror))}
    include = ["{ADDRESS}"]
  }}
  direct {{
    exclude = ["{ADDRESS}"]
  }}
}}
""",
        encoding="utf-8",
    )
