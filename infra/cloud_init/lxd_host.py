# SPDX-License-Identifier: AGPL-3.0-or-later
"""A LXD host: installs LXD, trusts the workers, builds images for its releases, twice a day anew."""

from __future__ import annotations

import json

from infra.cloud_init.common import code, topology
from infra.cloud_init.document import Document, etc, program, unit
from infra.settings.region import LxdHosts
from infra.settings.stage import Settings
from testyard.tomltext import toml_text

LXD_PORT = 8443
#: GiB of the root disk that are not the storage pool's.
_KEPT = 12


def lxd_host(settings: Settings, group: LxdHosts, name: str) -> str:
    """User data of a host of the group."""
    values, files = code(settings, "worker")
    return Document(
        kind="lxd-host",
        name=name,
        node=values,
        # autopkgtest's lxd runner is on the worker; the rest makes images here
        packages=("btrfs-progs", "dnsmasq-base", "lxd", "lxd-client", "nftables", "openssl"),
        files=(
            *files,
            program("testyard-start", source="start-lxd-host"),
            unit("testyard-images.service"),
            unit("testyard-images.timer"),
            etc("lxd.json", json.dumps(_preseed(settings.flavors.sizes[group.flavor].disk), indent=1)),
        ),
    ).render()


def _preseed(disk: int) -> dict[str, object]:
    """For `lxd init`; bridge, profile and access list are the worker's business (docs/testbeds.md)."""
    pool = {"name": "default", "driver": "btrfs", "config": {"size": f"{max(8, disk - _KEPT)}GiB"}}
    return {"config": {"core.https_address": f":{LXD_PORT}"}, "storage_pools": [pool]}


def image_settings(settings: Settings, group: LxdHosts) -> str:
    """images.toml, which comes with the secrets: another release is not another host."""
    host = {
        "name": "here",
        "testbed": "lxd",
        "architectures": [str(each) for each in group.architectures],
        "releases": list(group.releases or settings.topology.releases),
    }
    # half of what workers take for young: they never find an old one
    worker = {"testbed_user": "testyard-testbed", "tree_max_age": 43200, "hosts": [host]}
    return toml_text({"topology": topology(settings), "worker": worker})
