# SPDX-License-Identifier: AGPL-3.0-or-later
"""The testbed of each host, and what of it lasts over reloads."""

from __future__ import annotations

from testyard.errors import SettingsError
from testyard.hosts import ChrootHost, Host, LxdHost, NullHost, OpenStackHost, QemuHost, SshHost, UnshareHost
from testyard.settings import Worker
from worker import process
from worker.testbed.account import testbed_account
from worker.testbed.base import Testbed
from worker.testbed.chroot import chroot_testbed
from worker.testbed.image import ImageRecipe
from worker.testbed.kvm import Kvm
from worker.testbed.null import NullTestbed
from worker.testbed.owners import Owners
from worker.testbed.qemu import QemuTestbed
from worker.testbed.ssh import SshTestbed
from worker.testbed.tree import TreeCache
from worker.testbed.unshare import UnshareTestbed

#: What testbeds take of the worker's settings, beside those that no reload changes.
_USED = ("max_processes", "source_dir", "testbed_user", "tree_dir", "tree_max_age")


class KeptTestbeds:
    """A worker's testbeds. One whose settings stay as they were stays itself over a reload."""

    def __init__(self) -> None:
        self.owners = Owners()
        self._made: dict[str, tuple[Host, tuple[object, ...], Testbed]] = {}

    def of(self, host: Host, settings: Worker) -> Testbed:
        """A host's testbed. Raises TestbedError, SettingsError."""
        used = tuple(getattr(settings, key) for key in _USED)
        made = self._made.get(host.name)
        if made is None or made[:2] != (host, used):
            made = self._made[host.name] = (host, used, make_testbed(host, settings, self.owners))
        return made[2]


def make_testbed(host: Host, settings: Worker, owners: Owners) -> Testbed:
    """The kind of testbed that the host's settings name. Raises TestbedError, SettingsError."""
    match host:
        case NullHost():
            return NullTestbed(settings.source_dir)
        case UnshareHost() | ChrootHost():
            account = testbed_account(settings.testbed_user)
            trees = TreeCache(settings.tree_dir, account, settings.tree_max_age)
            make = UnshareTestbed if isinstance(host, UnshareHost) else chroot_testbed
            return make(account, trees, settings.source_dir, settings.max_processes)
        case SshHost():
            return SshTestbed(host, testbed_account(settings.testbed_user), settings.source_dir)
        case QemuHost():
            return _qemu(host, settings)
        case LxdHost():
            # 10 MB and 0.1 s that only workers with such a host need
            from worker.testbed.lxd import lxd_testbed  # noqa: PLC0415

            return lxd_testbed(host, settings, testbed_account(settings.testbed_user), owners)
        case OpenStackHost():
            # 60 MB and 1 s that only workers with such a host need
            from worker.testbed.openstack import openstack_testbed  # noqa: PLC0415

            return openstack_testbed(host, settings, testbed_account(settings.testbed_user), owners)
        case _:
            raise SettingsError(f"worker.hosts: {host.name}: there are no testbeds of this kind")


def _qemu(host: QemuHost, settings: Worker) -> QemuTestbed:
    account = testbed_account(settings.testbed_user)
    images = TreeCache(settings.tree_dir, account, settings.tree_max_age, ImageRecipe(host.disk, host.kernel))
    kvm = Kvm(settings.tree_dir, account)
    architecture = process.run(["dpkg", "--print-architecture"]).strip()
    return QemuTestbed(host, account, images, kvm, architecture, settings.source_dir)
