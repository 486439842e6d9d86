# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stands for Neutron's agents: every port is bound at once."""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class PlaneMechanismDriver(api.MechanismDriver):  # type: ignore[misc]
    """API, database, addresses, security groups and quotas are Neutron's; there is no data plane."""

    def initialize(self) -> None:
        """Nothing to prepare."""

    @property
    def connectivity(self) -> str:
        """As a driver with agents says it."""
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        """Bind to the first segment; in-tree drivers for tests bind on hosts of magic names only."""
        for segment in context.segments_to_bind[:1]:
            details = {
                portbindings.CAP_PORT_FILTER: True,
                portbindings.VIF_DETAILS_CONNECTIVITY: self.connectivity,
            }
            context.set_binding(
                segment[api.ID], portbindings.VIF_TYPE_OVS, details, status=constants.PORT_STATUS_ACTIVE
            )
