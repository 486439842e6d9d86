# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images on a LXD host: an operator's own, or made here from a root tree and put there each day.

One of ours has the alias ``testyard/RELEASE/ARCHITECTURE``. The one that it had before stays for an hour,
for runs that have just looked it up; one that is made anew by nobody goes after a week.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pylxd
from pylxd.exceptions import LXDAPIException, NotFound

from testyard.errors import CancelledRun, LastingTestbedError, TestbedError
from testyard.hosts import LxdHost
from worker.testbed.lock import locked
from worker.testbed.lxd_server import LxdServer
from worker.testbed.recipe import Making
from worker.testbed.tree import TreeCache

#: Debian's name of an architecture → LXD's.
ARCHITECTURES = MappingProxyType(
    {
        "amd64": "x86_64",
        "arm64": "aarch64",
        "armhf": "armv7l",
        "i386": "i686",
        "ppc64el": "ppc64le",
        "riscv64": "riscv64",
        "s390x": "s390x",
    }
)
_OURS = "testyard/{release}/{architecture}"
#: Properties of our images: the alias; when the tree was made; when another took its place (Unix time).
_ALIAS, _MADE, _REPLACED = "testyard.alias", "testyard.made", "testyard.replaced"
#: Seconds that a replaced image stays; that one stays which nobody makes anew.
_GRACE, _FORGET = 3600.0, 7 * 86400.0

#: Written when an instance is made.
_FILES = MappingProxyType(
    {
        "/etc/hostname": "{{ container.name }}\n",
        "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 {{ container.name }}\n::1 localhost ip6-localhost\n",
        "/etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n",
    }
)


@dataclass(frozen=True)
class ContainerRecipe:
    """A root tree that boots: with systemd, and network by DHCP."""

    what: str = "root tree with systemd"
    suffix: str = "-systemd.tar"

    def make(self, making: Making) -> Path:
        """See `Recipe`; takes 30 to 50 s."""
        packages = ("systemd-sysv", "dbus", "ifupdown", "iproute2", "netbase", "sudo")
        # newer releases have only the second
        client = "--include=?exact-name(isc-dhcp-client)|?exact-name(dhcpcd-base)"
        making.mmdebstrap("tree.tar", packages, (client,))
        return making.scratch / "tree.tar"


@dataclass(frozen=True)
class LxdImages:
    """The images of one host. ``trees`` makes what ours consist of."""

    host: LxdHost
    server: LxdServer
    trees: TreeCache

    def alias(self, release: str, architecture: str, *, vm: bool = False) -> str:
        """Which image a run is to have."""
        pattern = self.host.vm_image if vm else self.host.image or _OURS
        return pattern.format(release=release, architecture=architecture)

    def ensure(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """Make sure that there is one, not too old if it is ours.

        If a new one cannot be made, the old one serves. Raises TestbedError if there is none;
        CancelledRun soon after ``cancelled`` says true.
        """
        alias = self.alias(release, architecture)
        if self.host.image:
            with self.server.session() as client:
                if _target(client, alias) is None:
                    raise TestbedError(
                        f"LXD {self.host.address} has no image {alias}",
                        resolution=f"Make it, or unset `image` of host {self.host.name}.",
                    )
            return
        if self._made(alias) > self._oldest():
            return
        note(f"making an image for {release} {architecture}; this takes about a minute, once a day")
        with locked(self._lock_file(alias), cancelled):
            made = self._made(alias)
            if made > self._oldest():
                return  # somebody else was faster
            try:
                self._renew(alias, release, architecture, cancelled)
            except TestbedError as error:
                if not made:
                    raise
                note(f"image {alias} is old and could not be made anew: {error.brief}")

    def tidy(self, client: pylxd.Client, note: Callable[[str], None]) -> None:
        """Remove images of ours that no run needs any more."""
        for image in _all(client):
            kept = image["properties"]
            if _ALIAS not in kept:
                continue
            replaced = _number(kept.get(_REPLACED))
            if replaced and time.time() - replaced > _GRACE:
                note(f"removing a replaced image {kept[_ALIAS]}")
            elif not replaced and time.time() - _number(kept.get(_MADE)) > _FORGET + self.trees.max_age:
                note(f"removing the image {kept[_ALIAS]}, which nobody has made anew for a week")
            else:
                continue
            _remove(client, image["fingerprint"])

    def missing(self, client: pylxd.Client) -> tuple[str, ...]:
        """Aliases that the settings name and the server does not have, of what the host is for."""
        if not self.host.image:
            return ()
        wanted = [self.alias(r, a) for r in self.host.releases for a in self.host.architectures]
        return tuple(alias for alias in wanted if _target(client, alias) is None)

    def _oldest(self) -> float:
        return time.time() - self.trees.max_age

    def _lock_file(self, alias: str) -> Path:
        return self.server.folder / f"{alias.replace('/', '-')}.lock"

    def _made(self, alias: str) -> float:
        """When the tree of the image was made, in Unix time; 0 if there is none."""
        with self.server.session() as client:
            fingerprint = _target(client, alias)
            found = [image for image in _all(client) if image["fingerprint"] == fingerprint]
        return _number(found[0]["properties"].get(_MADE)) if found else 0.0

    def _renew(self, alias: str, release: str, architecture: str, cancelled: Callable[[], bool]) -> None:
        if architecture not in ARCHITECTURES:
            raise LastingTestbedError(
                f"no image can be made for {architecture}", resolution="Name one: `image` of the host."
            )
        tree = self.trees.get(release, architecture, cancelled)
        properties = {
            "os": "debian",
            "release": release,
            "architecture": architecture,
            "description": f"{release} {architecture} for Testyard",
            _ALIAS: alias,
            _MADE: str(int(tree.stat().st_mtime)),
        }
        metadata = _metadata(ARCHITECTURES[architecture], properties)
        with self.server.session() as client, _Watched(tree, cancelled) as data:
            image = client.images.create(data, metadata)
            _point(client, alias, image.fingerprint)


class _Watched(io.FileIO):
    """A file whose reader stops soon after ``cancelled`` says true."""

    def __init__(self, path: Path, cancelled: Callable[[], bool]) -> None:
        super().__init__(path)
        self._cancelled = cancelled

    def read(self, size: int | None = -1, /) -> bytes | Any:
        """Raises CancelledRun."""
        if self._cancelled():
            raise CancelledRun("the worker was told to stop")
        return super().read(-1 if size is None else size)


def _metadata(architecture: str, properties: dict[str, str]) -> bytes:
    """What LXD wants beside the tree, as a tar file; JSON is YAML. Never twice the same, so no two
    images are."""
    templates = {path: f"{path.rsplit('/', 1)[1]}.tpl" for path in _FILES}
    head = {
        "architecture": architecture,
        "creation_date": int(time.time()),
        "properties": {**properties, "testyard.put": str(time.time_ns())},
        "templates": {
            path: {"when": ["create", "copy"], "template": name} for path, name in templates.items()
        },
    }
    texts = {"metadata.yaml": json.dumps(head)}
    texts |= {f"templates/{name}": _FILES[path] for path, name in templates.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _point(client: pylxd.Client, alias: str, fingerprint: str) -> None:
    """Have the alias name this image from now on, and note on the one before that it is replaced."""
    before = _target(client, alias)
    if before is None:
        client.api.images.aliases.post(json={"name": alias, "target": fingerprint, "description": ""})
        return
    client.api.images.aliases[alias].put(json={"target": fingerprint, "description": ""})
    with _vanishing():
        properties = client.api.images[before].get().json()["metadata"]["properties"]
        marked = {**properties, _REPLACED: str(int(time.time()))}
        client.api.images[before].patch(json={"properties": marked})


def _target(client: pylxd.Client, alias: str) -> str | None:
    try:
        return str(client.api.images.aliases[alias].get().json()["metadata"]["target"])
    except NotFound:
        return None


def _all(client: pylxd.Client) -> list[dict[str, Any]]:
    return client.api.images.get(params={"recursion": 1}).json()["metadata"] or []


def _remove(client: pylxd.Client, fingerprint: str) -> None:
    with _vanishing():
        operation = client.api.images[fingerprint].delete().json()["operation"]
        client.operations.wait_for_operation(operation)


@contextmanager
def _vanishing() -> Iterator[None]:
    """Another worker may have removed it meanwhile."""
    try:
        yield
    except NotFound:
        return
    except LXDAPIException as error:
        if "not found" not in str(error).lower():
            raise


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
