# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a new plane has: service accounts, the catalogue, a project with a member, a way out, images."""

from __future__ import annotations

from collections.abc import Mapping

from openstack.connection import Connection

from tests.keystone_swift import SERVICE_PROJECT, SERVICE_USER
from tests.openstack.plane.state import REGION, State

PROJECT = "plane"
EXTERNAL_NETWORK = "public"
#: Documentation's third network (RFC 5737).
EXTERNAL_CIDR = "203.0.113.0/24"
#: name → Nova's word for the architecture.
IMAGES: Mapping[str, str] = {"plane-amd64": "x86_64", "plane-arm64": "aarch64"}

# service → type, path of its address
_CATALOGUE = {
    "placement": ("placement", ""),
    "glance": ("image", ""),
    "neutron": ("network", ""),
    "nova": ("compute", "/v2.1"),
    "cinder": ("block-storage", "/v3"),
    SERVICE_USER: ("object-store", "/v1/AUTH_%(project_id)s"),
}


def seed_identity(admin: Connection, state: State) -> None:
    """Accounts and catalogue; the services do not start without."""
    identity = admin.identity
    roles = {role.name: role.id for role in identity.roles()}
    roles["service"] = roles.get("service") or identity.create_role(name="service").id
    project = identity.create_project(name=SERVICE_PROJECT, domain_id="default")
    for name, (kind, path) in _CATALOGUE.items():
        user = identity.create_user(
            name=name, password=state.service, domain_id="default", default_project_id=project.id
        )
        for role in ("admin", "service"):
            identity.assign_project_role_to_user(project.id, user.id, roles[role])
        service = identity.create_service(name=name, type=kind)
        for interface in ("public", "internal"):
            identity.create_endpoint(
                service_id=service.id, interface=interface, region_id=REGION, url=state.url(name) + path
            )
    member_of(admin, PROJECT, "member", state.member)


def member_of(admin: Connection, project: str, user: str, password: str) -> str:
    """A new project with one user, who is a member of it and no more; returns the project's id."""
    made = admin.identity.create_project(name=project, domain_id="default")
    person = admin.identity.create_user(name=user, password=password, domain_id="default")
    role = admin.identity.find_role("member", ignore_missing=False)
    admin.identity.assign_project_role_to_user(made.id, person.id, role.id)
    return str(made.id)


def seed_resources(admin: Connection) -> None:
    """The way out, and images; all services must answer."""
    network = admin.network.create_network(
        name=EXTERNAL_NETWORK,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="public",
    )
    admin.network.create_subnet(
        name=EXTERNAL_NETWORK, network_id=network.id, ip_version=4, cidr=EXTERNAL_CIDR, is_dhcp_enabled=False
    )
    for name, architecture in IMAGES.items():
        admin.image.create_image(
            name,
            data=b"nothing boots from this\n" * 100,
            disk_format="raw",
            container_format="bare",
            visibility="public",
            architecture=architecture,
            hw_architecture=architecture,
            os_distro="debian",
            wait=True,
        )
