# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a run and its parts may take: the settings' limits, stretched for what is known to be slow.

The factors are those of Ubuntu's worker, which found them by experience.
"""

from __future__ import annotations

from collections.abc import Set
from types import MappingProxyType

from testyard.settings import Timeouts
from worker.packagelists import PackageList

#: Emulated or slow machines: everything takes longer there.
_SLOW = MappingProxyType({"riscv64": 4})


def limits_for(base: Timeouts, architecture: str, lists: Set[PackageList]) -> Timeouts:
    """The limits of one run, in seconds."""
    slow = _SLOW.get(architecture, 1)
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
