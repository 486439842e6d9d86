# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a run and its parts may take: the settings' limits, stretched for what is known to be slow.

The factors are those of Ubuntu's worker, which found them by experience. That for emulated processors is a
guess on the safe side: a boot, mostly waiting, takes 20 times as long as a namespace.
"""

from __future__ import annotations

from collections.abc import Set
from types import MappingProxyType

from testyard.packagelists import PackageList
from testyard.settings import Timeouts

#: Emulated or slow machines, by architecture or kind of testbed: everything takes longer there. Until the
#: first run on a host with machines it is not known whether they are emulated: "qemu".
_SLOW = MappingProxyType({"riscv64": 4, "qemu/tcg": 10, "qemu": 10})


def limits_for(base: Timeouts, architecture: str, lists: Set[PackageList], testbed: str = "") -> Timeouts:
    """The limits of one run in a kind of testbed, in seconds."""
    slow = max(_SLOW.get(name, 1) for name in (architecture, testbed))
    test = build = 1
    if PackageList.LONG in lists:
        test, build = 4, 2
    elif PackageList.BIG in lists:
        test = 2
    return Timeouts(
        short=base.short * slow,
        install=base.install * slow,
        test=base.test * slow * test,
        copy_files=base.copy_files * slow,
        build=base.build * slow * build,
        run=base.run * slow * test,
    )
