# SPDX-License-Identifier: AGPL-3.0-or-later
"""``python -m testyard``: the command line."""

from testyard.cli import main

main()
