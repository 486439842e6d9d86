# SPDX-License-Identifier: AGPL-3.0-or-later
"""The testbed of each host."""

from __future__ import annotations

from testyard.errors import SettingsError
from testyard.hosts import Host, NullHost, UnshareHost
from testyard.settings import Worker
from worker.testbed.account import testbed_account
from worker.testbed.base import Testbed
from worker.testbed.null import NullTestbed
from worker.testbed.tree import TreeCache
from worker.testbed.unshare import UnshareTestbed


def make_testbed(host: Host, settings: Worker) -> Testbed:
    """The kind of testbed that the host's settings name. Raises TestbedError, SettingsError."""
    match host:
        case NullHost():
            return NullTestbed(settings.source_dir)
        case UnshareHost():
            account = testbed_account(settings.testbed_user)
            trees = TreeCache(settings.tree_dir, account, settings.tree_max_age)
            return UnshareTestbed(account, trees, settings.source_dir, settings.max_processes)
        case _:
            raise SettingsError(f"worker.hosts: {host.name}: there are no testbeds of this kind")
