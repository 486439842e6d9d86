# SPDX-License-Identifier: AGPL-3.0-or-later
"""The services' configuration files; written anew at each start.

Quotas are those of a small project on a usual cloud: enough for one stage, and soon used up.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from configparser import RawConfigParser
from io import StringIO

from tests.openstack.plane.parts import HOSTS, VENV
from tests.openstack.plane.state import REGION, State
from testyard.local.files import make_private_folder, write_private

Sections = Mapping[str, Mapping[str, object]]
#: The address of a database.
Address = Callable[[str], str]
#: Service tokens let a request go on whose user's own token ends, or whose access rules name another service.
_TYPES = {
    "placement": "placement",
    "glance": "image",
    "neutron": "network",
    "nova": "compute",
    "cinder": "block-storage",
}


def write(state: State, address: Address) -> None:
    """Write all of them below the plane's folder."""
    for name, sections in {
        "placement": _placement(state, address),
        "glance": _glance(state, address),
        "neutron": _neutron(state, address),
        "nova": _nova(state, address),
        "cinder": _cinder(state, address),
    }.items():
        folder = state.folder / name
        make_private_folder(folder)
        write_private(folder / file_name(name), _ini(sections))
    # Nova starts a second time only where it finds the first host's id, as services/machines.py has it
    write_private(state.folder / "nova/compute_id", str(uuid.uuid5(uuid.NAMESPACE_DNS, HOSTS[0])))
    # its application looks for this beside nova.conf
    shutil.copy(VENV / "etc/nova/api-paste.ini", state.folder / "nova")


def file_name(service: str) -> str:
    """As the service's own programs expect it."""
    return "glance-api.conf" if service == "glance" else f"{service}.conf"


def _placement(state: State, address: Address) -> Sections:
    return {
        "DEFAULT": _common(state),
        "placement_database": {"connection": address("placement")},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": _token(state, "placement"),
    }


def _glance(state: State, address: Address) -> Sections:
    folder = state.folder / "glance"
    return {
        "DEFAULT": {
            **_common(state),
            "enabled_backends": "disk:file",
            "enabled_import_methods": "[]",
            "worker_self_reference_url": state.url("glance"),
            "use_keystone_limits": "false",
        },
        "database": {"connection": address("glance")},
        "glance_store": {"default_backend": "disk"},
        "disk": {"filesystem_store_datadir": folder / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": folder / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": folder / "tasks"},
        "paste_deploy": {"flavor": "keystone", "config_file": VENV / "etc/glance/glance-api-paste.ini"},
        "keystone_authtoken": _token(state, "glance"),
        "oslo_concurrency": {"lock_path": folder / "locks"},
    }


def _neutron(state: State, address: Address) -> Sections:
    return {
        "DEFAULT": {
            **_common(state),
            "core_plugin": "ml2",
            "service_plugins": "router",
            "auth_strategy": "keystone",
            "transport_url": "fake://",
            "state_path": state.folder / "neutron",
            "api_paste_config": VENV / "etc/neutron/api-paste.ini",
            "notify_nova_on_port_status_changes": "true",
            "notify_nova_on_port_data_changes": "true",
            "rpc_workers": 0,
            "dhcp_agent_notification": "false",
        },
        "database": {"connection": address("neutron")},
        "keystone_authtoken": _token(state, "neutron"),
        "nova": {**_account(state, "nova"), "endpoint_type": "public"},
        "placement": _account(state, "placement"),
        "oslo_concurrency": {"lock_path": state.folder / "neutron/locks"},
        "ml2": {
            "type_drivers": "flat,vlan",
            "tenant_network_types": "vlan",
            "mechanism_drivers": "plane",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": "public"},
        "ml2_type_vlan": {"network_vlan_ranges": "private:100:1100"},
        "securitygroup": {"enable_security_group": "true"},
        "quotas": {
            "quota_network": 20,
            "quota_subnet": 20,
            "quota_port": 200,
            "quota_router": 10,
            "quota_floatingip": 20,
            "quota_security_group": 30,
            "quota_security_group_rule": 200,
        },
    }


def _nova(state: State, address: Address) -> Sections:
    return {
        "DEFAULT": {
            **_common(state),
            "host": HOSTS[0],
            "my_ip": "127.0.0.1",
            "transport_url": "fake:///",
            "compute_driver": "plane.PlaneDriver",
            "state_path": state.folder / "nova",
            "enabled_apis": "osapi_compute",
            "flat_injected": "false",
        },
        "api": {"auth_strategy": "keystone"},
        "api_database": {"connection": address("nova_api")},
        "database": {"connection": address("nova_cell1")},
        "keystone_authtoken": _token(state, "nova"),
        "service_user": {**_account(state, "nova"), "send_service_user_token": "true"},
        **{
            name: _account(state, "nova") for name in ("placement", "neutron", "glance", "keystone", "cinder")
        },
        "filter_scheduler": {
            "enabled_filters": "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,"
            "ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,SameHostFilter,DifferentHostFilter"
        },
        "scheduler": {"workers": 1},
        "conductor": {"workers": 1},
        "vnc": {"enabled": "false"},
        "spice": {"enabled": "false"},
        "oslo_concurrency": {"lock_path": state.folder / "nova/locks"},
        "wsgi": {"api_paste_config": VENV / "etc/nova/api-paste.ini"},
        "quota": {"instances": 40, "cores": 160, "ram": 327_680, "key_pairs": 20, "server_groups": 10},
    }


def _cinder(state: State, address: Address) -> Sections:
    folder = state.folder / "cinder"
    return {
        "DEFAULT": {
            **_common(state),
            "host": "volumes",
            "my_ip": "127.0.0.1",
            "transport_url": "fake:///",
            "auth_strategy": "keystone",
            "state_path": folder,
            "api_paste_config": VENV / "etc/cinder/api-paste.ini",
            "resource_query_filters_file": VENV / "etc/cinder/resource_filters.json",
            "enabled_backends": "files",
            "glance_catalog_info": "image:glance:publicURL",
            "quota_volumes": 40,
            "quota_snapshots": 20,
            "quota_gigabytes": 4000,
        },
        "files": {
            "volume_driver": "tests.openstack.plane.services.volumes.FileDriver",
            "volume_backend_name": "files",
            "plane_folder": folder / "volumes",
        },
        "database": {"connection": address("cinder")},
        "keystone_authtoken": _token(state, "cinder"),
        "service_user": {**_account(state, "cinder"), "send_service_user_token": "true"},
        "nova": {**_account(state, "nova"), "interface": "public"},
        "oslo_concurrency": {"lock_path": folder / "locks"},
        "coordination": {"backend_url": f"file://{folder / 'coordination'}"},
    }


def _common(state: State) -> dict[str, object]:
    return {"use_stderr": "true", "debug": "false"}


def _account(state: State, user: str) -> dict[str, object]:
    return {
        "auth_type": "password",
        "auth_url": state.auth_url,
        "username": user,
        "password": state.service,
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": REGION,
    }


def _token(state: State, user: str) -> dict[str, object]:
    return {
        **_account(state, user),
        "www_authenticate_uri": state.auth_url,
        "service_type": _TYPES[user],
        "service_token_roles": "service",
        "service_token_roles_required": "true",
    }


def _ini(sections: Sections) -> str:
    parser = RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict(
        {name: {key: str(value) for key, value in keys.items()} for name, keys in sections.items()}
    )
    text = StringIO()
    parser.write(text)
    return text.getvalue()
