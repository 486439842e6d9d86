# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images for virtual machines: a disk, and beside it the kernel that it is booted with.

The disk is one ext4 file system made from a folder, so neither root's rights nor a loop device nor a
boot loader are needed. The kernel is the usual one: those for clouds have no 9p, by which autopkgtest
shares a folder with the machine.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from testyard.errors import LastingTestbedError, TestbedError
from worker.testbed.recipe import Making

#: Names in an image's folder.
DISK, KERNEL, INITRD, MACHINE = "disk.qcow2", "kernel", "initrd", "machine.cfg"
#: Where the folder is for the emulator.
PLACE = Path("/tree")


@dataclass(frozen=True)
class Kind:
    """What differs between architectures: qemu's name, its machine, the first serial console."""

    emulator: str
    machine: str
    console: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {"amd64": Kind("x86_64", "pc", "ttyS0"), "arm64": Kind("aarch64", "virt", "ttyAMA0")}
)

_PACKAGES = (
    "dbus",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "netbase",
    "python3-minimal",
    "systemd-sysv",
    "udev",
)
#: There before the kernel is installed: an initrd of only what finds the disk is 6 MB instead of 38.
_EARLY = {
    "etc/initramfs-tools/conf.d/testbed": "MODULES=list\n",
    "usr/share/initramfs-tools/modules.d/testbed": "virtio_pci\nvirtio_mmio\nvirtio_blk\next4\n",
}
#: A shell for autopkgtest, by which it logs in. Without an echo: a slow guest mixes that with its prompts,
#: which autopkgtest then waits for in vain.
_SHELL = """\
[Unit]
Description=Root shell for autopkgtest on %i
# autopkgtest waits for the login, then for this
Before=serial-getty@ttyS0.service serial-getty@ttyAMA0.service

[Service]
ExecStart=/bin/sh -c "stty -echo; exec sh"
WorkingDirectory=/root
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/%i
KillMode=process
Restart=always
"""
_NETWORK = """\
[Match]
Type=ether

[Network]
DHCP=ipv4

[DHCPv4]
UseDNS=no
"""
_FILES = {
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro,noatime 0 1\n",
    "etc/hostname": "testbed\n",
    "etc/hosts": "127.0.0.1 localhost testbed\n::1 localhost\n",
    # qemu's own name server asks the one of the run's network
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/network/50-testbed.network": _NETWORK,
    "etc/systemd/system/testbed-shell@.service": _SHELL,
    "etc/apt/apt.conf.d/90testbed": 'APT::Periodic::Enable "0";\n',
}
_UNITS = "etc/systemd/system"
_WANTED = f"{_UNITS}/multi-user.target.wants"
#: Seconds of an emulated processor go to what no test needs.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
)
_LINKS = {
    f"{_WANTED}/testbed-shell@hvc1.service": "../testbed-shell@.service",
    f"{_WANTED}/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
    **{f"{_UNITS}/{unit}": "/dev/null" for unit in _MASKED},
}


@dataclass(frozen=True)
class ImageRecipe:
    """An image's folder. ``disk`` is its file system's size in GiB; ``kernel`` a package, or empty."""

    disk: int
    kernel: str = ""
    what: str = "image"

    @property
    def suffix(self) -> str:
        """Says what shapes the image: hosts of one machine that differ in it have images of their own."""
        return f"-{self.disk}G{f'-{self.kernel}' if self.kernel else ''}.vm"

    def make(self, making: Making) -> Path:
        """See `Recipe`; takes 40 s to 2 minutes."""
        kind = kind_of(making.architecture)
        _write_tar(making.scratch / "early.tar", _EARLY, {})
        _write_tar(making.scratch / "late.tar", _FILES, _LINKS)
        kernel = self.kernel or f"linux-image-{making.architecture}"
        early, late = (making.place / name for name in ("early.tar", "late.tar"))
        making.mmdebstrap(
            "root",
            (*_PACKAGES, kernel),
            (f"--essential-hook=tar-in {early} /", f"--customize-hook=tar-in {late} /"),
        )
        root, raw = making.place / "root", making.place / "disk.raw"
        making.run("useradd", f"--root={root}", "--create-home", "--shell=/bin/bash", "user")
        made = making.scratch / "made"
        made.mkdir()
        made.chmod(0o755)
        making.account.give(made)
        for name, link in ((KERNEL, "vmlinuz"), (INITRD, "initrd.img")):
            newest = _newest(making.scratch / "root", link)
            making.run("cp", f"{root}/boot/{newest}", str(making.place / "made" / name))
        making.run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), str(raw), f"{self.disk}G")
        making.run("qemu-img", "convert", "-O", "qcow2", str(raw), str(making.place / "made" / DISK))
        (made / MACHINE).write_text(machine_config(kind))
        return made


def kind_of(architecture: str) -> Kind:
    """Raises LastingTestbedError for an architecture that we cannot boot."""
    try:
        return KINDS[architecture]
    except KeyError as error:
        raise LastingTestbedError(
            f"virtual machines of architecture {architecture} are not supported; {', '.join(KINDS)} are",
            resolution="Name the architectures of this host in worker.hosts.",
        ) from error


def machine_config(kind: Kind) -> str:
    """qemu's machine, for -readconfig: autopkgtest splits options at blanks, and a kernel's line has some."""
    line = f"root=/dev/vda rw console=hvc0 console={kind.console} quiet"
    return (
        f'[machine]\n  type = "{kind.machine}"\n  kernel = "{PLACE / KERNEL}"\n'
        f'  initrd = "{PLACE / INITRD}"\n  append = "{line}"\n'
    )


def _newest(root: Path, name: str) -> str:
    found = sorted((root / "boot").glob(f"{name}-*"))
    if not found:
        raise TestbedError(f"the kernel's package brought no /boot/{name}-*")
    return found[-1].name


def _write_tar(file: Path, files: Mapping[str, str], links: Mapping[str, str]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    file.chmod(0o644)
