# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line."""

from testyard.cli.app import main

__all__ = ["main"]
