# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cloud's own balancer (Octavia) before HAProxy on each instance of the site.

Octavia tells requests apart by address and header, not by method, as our routes need. So it shares
them out and ends TLS; who answers what is decided by the HAProxy behind it, as elsewhere.
"""

from __future__ import annotations

from cdktf_cdktf_provider_openstack.lb_listener_v2 import LbListenerV2
from cdktf_cdktf_provider_openstack.lb_loadbalancer_v2 import LbLoadbalancerV2
from cdktf_cdktf_provider_openstack.lb_member_v2 import LbMemberV2
from cdktf_cdktf_provider_openstack.lb_monitor_v2 import LbMonitorV2
from cdktf_cdktf_provider_openstack.lb_pool_v2 import LbPoolV2

from infra.cloud_init.common import FRONT_PORT
from infra.settings import addresses
from infra.stacks.base import RegionStack
from infra.stacks.network import NetworkStack
from testyard.routes import HEALTH


def cloud_balancer(stack: RegionStack, network: NetworkStack) -> str:
    """Makes it, with the balancer's fixed address; returns the id of its port."""
    wanted, subnet, tags = stack.settings.balancer, stack.region.subnet, stack.tags
    made = LbLoadbalancerV2(
        stack,
        "balancer",
        name=f"{stack.prefix}-balancer",
        vip_subnet_id=network.subnet.id,
        vip_address=str(addresses.balancer(subnet)),
        security_group_ids=[network.groups["balancer"].group.id],
        tags=tags,
    )
    secure = wanted.tls == "files"
    listener = LbListenerV2(
        stack,
        "listener",
        name=f"{stack.prefix}-front",
        loadbalancer_id=made.id,
        protocol="TERMINATED_HTTPS" if secure else "HTTP",
        protocol_port=443 if secure else 80,
        default_tls_container_ref=wanted.certificate_ref if secure else None,
        insert_headers={"X-Forwarded-For": "true"},
        # readers of a running log stay connected
        timeout_client_data=3_600_000,
        timeout_member_data=3_600_000,
        tags=tags,
    )
    pool = LbPoolV2(
        stack,
        "pool",
        name=f"{stack.prefix}-sites",
        listener_id=listener.id,
        protocol="HTTP",
        lb_method="LEAST_CONNECTIONS",
    )
    LbMonitorV2(
        stack, "monitor", pool_id=pool.id, type="HTTP", url_path=HEALTH, delay=5, timeout=3, max_retries=2
    )
    for number, address in enumerate(addresses.web(subnet, stack.settings.web.count), 1):
        LbMemberV2(
            stack,
            f"member-{number}",
            pool_id=pool.id,
            name=f"web-{number}",
            address=str(address),
            protocol_port=FRONT_PORT,
            subnet_id=network.subnet.id,
        )
    return str(made.vip_port_id)
