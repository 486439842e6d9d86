# SPDX-License-Identifier: AGPL-3.0-or-later
"""Swift's configuration files and rings: one device, which is a folder, and one replica."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import SettingsError
from testyard.local.files import make_private_folder, write_private
from testyard.local.ports import LOOPBACK
from testyard.local.swift_secrets import SwiftSecrets

KINDS = ("account", "container", "object")
DEVICE = "d1"

_SWIFT = """\
[swift-hash]
swift_hash_path_suffix = {suffix}
swift_hash_path_prefix =

[storage-policy:0]
name = Policy-0
default = yes
"""

# fallocate is for disks that Swift owns; recon files are a monitoring tool's
_BACK_END_DEFAULTS = """\
[DEFAULT]
swift_dir = {etc}
devices = {devices}
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
log_name = {name}
log_level = WARN
fallocate_reserve = 0
disable_fallocate = true
recon_cache_path = {run}
"""

_BACK_END = (
    _BACK_END_DEFAULTS
    + """
[pipeline:main]
pipeline = guard {name}-server

[filter:guard]
paste.filter_factory = testyard.local.swift_guard:filter_factory

[app:{name}-server]
use = egg:swift#{name}
log_requests = false
"""
)

# there is one device: if its disk was full, it must be asked again soon, not after Swift's 60 s
# Swift demands this order: gatekeeper right inside catch_errors, copy before the large-object ones
_PROXY = """\
[DEFAULT]
swift_dir = {etc}
bind_ip = 127.0.0.1
bind_port = {port}
log_name = proxy
log_level = WARN
client_timeout = 60

[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats tempauth copy slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
node_timeout = 30
error_suppression_interval = 2

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
paste.filter_factory = testyard.local.swift_cache:filter_factory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo

[filter:tempauth]
use = egg:swift#tempauth
fernet_key_1 = {fernet_key}
active_fernet_key_id = 1
token_life = 86400
storage_url_scheme = http
user_{account}_{user} = {key} .admin
"""

_TEND = (
    _BACK_END_DEFAULTS
    + """
[object-updater]
interval = 30

[container-updater]
interval = 30

[object-expirer]
interval = 60
# without it this version's expirer finds nothing and says nothing
dequeue_from_legacy = true

[account-reaper]
interval = 3600
delay_reaping = 0

[pipeline:main]
pipeline = catch_errors cache proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
paste.filter_factory = testyard.local.swift_cache:filter_factory
"""
)


@dataclass(frozen=True)
class SwiftFolder:
    """Where things are below the store's folder."""

    root: Path

    @property
    def etc(self) -> Path:
        """Configuration and rings."""
        return self.root / "etc"

    @property
    def devices(self) -> Path:
        """The parent of the one device, which holds every account, container and object."""
        return self.root / "devices"

    def conf(self, name: str) -> Path:
        """The configuration of ``proxy``, ``account``, ``container``, ``object`` or ``tend``."""
        return self.etc / f"{name}.conf"


def prepare(folder: SwiftFolder, port: int, back_end_ports: tuple[int, ...], secrets: SwiftSecrets) -> None:
    """Write every file that the servers read; on a folder in use nothing else changes.

    Raises SettingsError when the folder cannot hold objects.
    """
    for path in (folder.etc, folder.root / "run", folder.devices / DEVICE):
        make_private_folder(path)
    check_attributes(folder.devices / DEVICE)
    common = {"etc": folder.etc, "devices": folder.devices, "run": folder.root / "run"}
    account, _, user = secrets.user.partition(":")
    files = {
        folder.etc / "swift.conf": _SWIFT.format(suffix=secrets.hash_suffix),
        folder.conf("tend"): _TEND.format(**common, port=0, name="tend"),
        folder.conf("proxy"): _PROXY.format(
            **common, port=port, account=account, user=user, key=secrets.key, fernet_key=secrets.fernet_key
        ),
    }
    for kind, back_end_port in zip(KINDS, back_end_ports, strict=True):
        files[folder.conf(kind)] = _BACK_END.format(**common, port=back_end_port, name=kind)
    for path, text in files.items():
        write_private(path, text)
    for kind, back_end_port in zip(KINDS, back_end_ports, strict=True):
        _write_ring(folder.etc / f"{kind}.ring.gz", back_end_port)


def check_attributes(folder: Path) -> None:
    """Raises SettingsError when files in ``folder`` cannot carry what Swift stores beside them."""
    probe = folder / ".attribute-probe"
    try:
        probe.write_bytes(b"")
        # Swift splits its metadata into attributes of at most 254 bytes on the meanest file systems
        os.setxattr(probe, "user.swift.metadata", b"x" * 254)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot hold extended attributes (user.*), which Swift needs: {error.strerror}.",
            resolution="Name a folder on ext4, xfs or btrfs (tmpfs has them from Linux 6.6 on) with --state.",
        ) from error
    finally:
        probe.unlink(missing_ok=True)


def _write_ring(path: Path, port: int) -> None:
    """Write the ring; the same port gives the same ring. Swift replaces the file atomically."""
    # here and not above: whoever only wants the templates is spared Swift's import
    from swift.common.ring import RingBuilder  # noqa: PLC0415

    device = {
        "id": 0,
        "region": 1,
        "zone": 1,
        "weight": 1.0,
        "ip": LOOPBACK,
        "port": port,
        "replication_ip": LOOPBACK,
        "replication_port": port,
        "device": DEVICE,
        "meta": "",
    }
    # made anew at each start (3 ms for the three): so ports may change, and a damaged file heals
    builder = RingBuilder(8, 1, 1)  # 2**8 partitions, 1 replica, 1 hour between moves
    builder.add_dev(device)
    builder.rebalance(seed="testyard")
    builder.get_ring().save(str(path))
