# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker: tests on its own machine, or on the region's LXD hosts."""

from __future__ import annotations

from typing import Any

from infra.cloud_init.common import code, names, topology
from infra.cloud_init.document import UNITS, Document, File, etc, program, unit
from infra.settings.region import Region, Workers
from infra.settings.sizes import BIG, SMALL
from infra.settings.stage import Settings
from testyard.tomltext import toml_text

_DROP_IN = f"{UNITS}/testyard-worker.service.d/deployed.conf"


def worker(settings: Settings, region: Region, group: Workers, name: str) -> str:
    """User data of the worker ``name``, which is its name everywhere."""
    values, files = code(settings, "worker")
    by_lxd = group.testbed == "lxd"
    file = etc(
        "worker.base.toml" if by_lxd else "worker.toml", worker_settings(settings, region, group, name)
    )
    remotes = [program("testyard-remotes"), unit("testyard-remotes.service"), unit("testyard-remotes.timer")]
    return Document(
        kind="worker",
        name=name,
        node={**values, "TESTBED": group.testbed, "REGION": region.name},
        packages=_PACKAGES[group.testbed],
        files=(
            *files,
            program("testyard-start", source="start-worker"),
            File(_DROP_IN, "[Service]\nEnvironmentFile=/etc/testyard/secrets/worker.env\n"),
            file,
            *((names(settings),) if region is settings.home else ()),
            *(remotes if by_lxd else ()),
        ),
    ).render()


#: Beside what `scripts/setup worker` installs.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "unshare": (),
    "chroot": (),
    "qemu": ("e2fsprogs", "qemu-system-x86", "qemu-system-arm", "qemu-utils"),
    "lxd": ("lxd-client", "openssl"),
}


def worker_settings(settings: Settings, region: Region, group: Workers, name: str) -> str:
    """Its settings without secrets; with LXD also without hosts, which the inventory names."""
    found = topology(settings)
    found["releases"] = list(group.releases or settings.topology.releases)
    found["contexts"] = list(group.contexts or settings.topology.contexts)
    tested = group.architectures or ((group.machine,) if group.testbed != "lxd" else region.architectures)
    found["architectures"] = [str(each) for each in tested]
    worker: dict[str, Any] = {"name": name, "testbed_user": "testyard-testbed"}
    if group.testbed != "lxd":
        worker["hosts"] = [_own_host(settings, group)]
    return toml_text({"topology": found, "worker": worker})


def _own_host(settings: Settings, group: Workers) -> dict[str, Any]:
    host: dict[str, Any] = {"name": "here", "testbed": group.testbed, "slots": group.slots}
    if group.testbed == "qemu":
        small, big = settings.flavors.sizes[SMALL], settings.flavors.sizes[BIG]
        host |= {"cpus": small.cpus, "big_cpus": big.cpus, "disk": small.disk, "emulate": False}
    return host
