# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a project holds, to see that nothing is left behind:

before = inventory(member)
…
assert inventory(member) == before
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from openstack.connection import Connection

#: Kind → all of that kind that the connection's project holds.
_KINDS: Mapping[str, Callable[[Connection], Iterable[Any]]] = {
    "server": lambda cloud: cloud.compute.servers(),
    "server group": lambda cloud: cloud.compute.server_groups(),
    "keypair": lambda cloud: cloud.compute.keypairs(),
    "network": lambda cloud: cloud.network.networks(project_id=cloud.current_project_id),
    "subnet": lambda cloud: cloud.network.subnets(project_id=cloud.current_project_id),
    "router": lambda cloud: cloud.network.routers(project_id=cloud.current_project_id),
    "port": lambda cloud: cloud.network.ports(project_id=cloud.current_project_id),
    "floating ip": lambda cloud: cloud.network.ips(project_id=cloud.current_project_id),
    "security group": lambda cloud: (
        # Neutron makes the group "default" when somebody first looks
        group
        for group in cloud.network.security_groups(project_id=cloud.current_project_id)
        if group.name != "default"
    ),
    "volume": lambda cloud: cloud.block_storage.volumes(),
    "snapshot": lambda cloud: cloud.block_storage.snapshots(),
    "image": lambda cloud: cloud.image.images(owner=cloud.current_project_id),
    "container": lambda cloud: cloud.object_store.containers(),
    "application credential": lambda cloud: cloud.identity.application_credentials(cloud.current_user_id),
}


def inventory(cloud: Connection) -> frozenset[tuple[str, str, str]]:
    """Kind, id and name of everything in the connection's project, and of its user's credentials."""
    return frozenset(
        (kind, str(found.id), str(found.name or ""))
        for kind, listed in _KINDS.items()
        for found in listed(cloud)
    )
