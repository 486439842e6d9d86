# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which tests run in one process: those of a file, and all that need the OpenStack control plane."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

#: The plane takes 1 GB and most of a minute to start: one for all.
_TOGETHER = "tests/openstack/"


class ByFile(LoadFileScheduling):
    """See `LoadFileScheduling`."""

    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER if nodeid.startswith(_TOGETHER) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile | None:
    """With ``--dist loadfile``."""
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest in one process begins first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_TOGETHER))
