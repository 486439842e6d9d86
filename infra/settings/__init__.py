# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is to be built: one TOML file per stage, read into frozen, typed settings.

A stage is named (``devel``: the file infra/stages/devel.toml) or given as the path of an
operator's own TOML file. No secret belongs in it: credentials come from clouds.yaml or ``OS_*``,
those of the state store from ``AWS_*``. docs/infra.md lists every key. This package knows nothing
of cdktf, so reading and checking settings needs no node.
"""

from infra.settings.access import AdminNetwork
from infra.settings.base import Architecture, Stage
from infra.settings.load import STAGES, load_settings
from infra.settings.region import LxdHosts, Region, Workers
from infra.settings.stage import Settings, StateStore

__all__ = [
    "STAGES",
    "AdminNetwork",
    "Architecture",
    "LxdHosts",
    "Region",
    "Settings",
    "Stage",
    "StateStore",
    "Workers",
    "load_settings",
]
