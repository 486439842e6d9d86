# SPDX-License-Identifier: AGPL-3.0-or-later
"""Listens on addresses, by TCP and UDP; for each line that it reads it prints what it has heard.

python -m tests.integration.listener ADDRESS…
"""

from __future__ import annotations

import json
import sys

from tests.integration.machine import Machine


def main() -> None:
    """See above."""
    machine = Machine()
    for address in sys.argv[1:]:
        machine.listen(address)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(sorted(set(machine.heard))), flush=True)
        machine.heard.clear()


if __name__ == "__main__":
    main()
