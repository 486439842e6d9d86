# SPDX-License-Identifier: AGPL-3.0-or-later
"""``python -m infra``: write the terraform files of a stage to cdktf.out; cdktf.json runs it.

The stage is ``--stage`` or ``TESTYARD_STAGE`` (the cdktf command line hands no arguments on), and
``devel`` without either.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from infra.describe import describe
from infra.node import prepare_node
from infra.settings import load_settings
from testyard.errors import SettingsError


def main() -> None:
    """Synthesise; wrong settings and a missing node end it with code 1 and a message."""
    parser = argparse.ArgumentParser(
        prog="python -m infra", description="Write the terraform files of a stage."
    )
    parser.add_argument(
        "--stage",
        default=os.environ.get("TESTYARD_STAGE") or "devel",
        help="devel, staging, production, or a TOML file (default: TESTYARD_STAGE, then devel)",
    )
    parser.add_argument(
        "--describe", action="store_true", help="write nothing, print what the stage consists of, as JSON"
    )
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.stage)
        if arguments.describe:
            sys.stdout.write(json.dumps(describe(settings), indent=1) + "\n")
            return
        prepare_node()
    except SettingsError as error:
        sys.exit(f"infra: {error}")
    from infra.app import build  # noqa: PLC0415  importing cdktf starts node

    build(settings).synth()


if __name__ == "__main__":
    main()
