# SPDX-License-Identifier: AGPL-3.0-or-later
"""The root tree of this machine's release, from the cache that all tests share; made if need be."""

from __future__ import annotations

import os
from pathlib import Path

from tests.system import TREES
from testyard.local.machine import machine_architecture, machine_release
from testyard.local.state import TESTBED_USER
from worker.testbed.account import Account, testbed_account
from worker.testbed.tree import TreeCache


def account() -> Account:
    """What testbeds run as in tests."""
    return testbed_account(TESTBED_USER if os.geteuid() == 0 else "")


def machine_tree() -> Path:
    """The tree's file; takes 17 to 40 s once a day."""
    return TreeCache(TREES, account(), 86400).get(machine_release(), machine_architecture(), lambda: False)
