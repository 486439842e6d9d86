# SPDX-License-Identifier: AGPL-3.0-or-later
"""Flavors that are there already."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.kinds import DataSource, Service, only_one
from tests.openstack.provider.values import Values

_EXACT = {
    "flavor_id": "id",
    "name": "name",
    "ram": "ram",
    "vcpus": "vcpus",
    "disk": "disk",
    "swap": "swap",
    "rx_tx_factor": "rxtx_factor",
    "is_public": "is_public",
    "description": "description",
}


def _flavor(connection: Connection, config: Values) -> Values:
    found = [one for one in connection.compute.flavors(get_extra_specs=True) if _fits(one, config)]
    return only_one([_values(one) for one in found], "compute_flavor_v2")


def _fits(found: Any, config: Values) -> bool:
    exact = all(
        config.get(name) is None or getattr(found, sdk) == config[name] for name, sdk in _EXACT.items()
    )
    return exact and found.ram >= (config.get("min_ram") or 0) and found.disk >= (config.get("min_disk") or 0)


def _values(found: Any) -> Values:
    values = {name: getattr(found, sdk, None) for name, sdk in _EXACT.items()}
    return {**values, "id": found.id, "swap": found.swap or 0, "extra_specs": found.extra_specs or {}}


SERVICE = Service({}, {"compute_flavor_v2": DataSource(_flavor)})
