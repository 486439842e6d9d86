# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the stand-in builds, a module for each service.

The facts in each module are from the pages ``docs/resources/NAME`` of the official provider's
documentation, version 3.0.0, where NAME is the key under which they stand.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.openstack.provider.kinds import DataSource, Resource
from tests.openstack.provider.services import (
    compute,
    compute_lookup,
    container,
    floating,
    identity,
    identity_access,
    images,
    instance,
    network,
    network_lookup,
    port,
    router,
    stored_object,
    volume,
)

_SERVICES = tuple(
    module.SERVICE
    for module in (
        network,
        router,
        port,
        floating,
        network_lookup,
        compute,
        compute_lookup,
        instance,
        volume,
        container,
        stored_object,
        images,
        identity,
        identity_access,
    )
)
RESOURCES: Mapping[str, Resource] = {
    name: one for service in _SERVICES for name, one in service.resources.items()
}
DATA_SOURCES: Mapping[str, DataSource] = {
    name: one for service in _SERVICES for name, one in service.data_sources.items()
}
