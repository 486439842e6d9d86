# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nova's conductor, scheduler and hosts, in the process of its API: no message broker is needed.

They talk through oslo.messaging's ``fake://``, which stays inside a process; that works since Nova runs
on plain threads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import nova.conf
import nova.virt
import os_vif
from nova import context, objects, service
from nova.compute import rpcapi as compute
from nova.conductor import rpcapi as conductor
from nova.objects import host_mapping
from nova.scheduler import rpcapi as scheduler

from tests.openstack.plane.services import machines


def start(hosts: Sequence[str]) -> None:
    """Start them all and make the hosts known to the scheduler."""
    sys.modules["nova.virt.plane"] = machines  # Nova takes drivers from below nova.virt only
    objects.register_all()
    os_vif.initialize()
    for binary, topic in (
        ("nova-conductor", conductor.RPC_TOPIC),
        ("nova-scheduler", scheduler.RPC_TOPIC),
    ):
        service.Service.create(binary=binary, topic=topic).start()
    own = nova.conf.CONF.host
    for host in hosts:
        nova.conf.CONF.set_override("host", host)
        service.Service.create(
            binary="nova-compute",
            host=host,
            topic=compute.RPC_TOPIC,
            topic_alt=getattr(compute, "RPC_TOPIC_ALT", None),
        ).start()
    nova.conf.CONF.set_override("host", own)
    host_mapping.discover_hosts(context.get_admin_context())
