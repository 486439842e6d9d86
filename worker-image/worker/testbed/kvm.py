# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether KVM works on this machine: a device proves nothing, so a kernel is booted once.

Seen: a machine in a cloud whose KVM (module kvm-pvm) opens, and stops each guest in its first second.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import TestbedError
from worker import process
from worker.testbed.account import Account
from worker.testbed.image import Kind

DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Seconds that a kernel may take until it looks for its disk. Usual: 2.
_LIMIT = 10.0
#: Seconds until a kernel that did not boot is tried again: the machine may have been busy.
_AGAIN = 3600.0
#: What it says then: it is given no disk.
_BOOTED = "Unable to mount root fs"


@dataclass(frozen=True)
class Kvm:
    """KVM as an account may use it. ``folder`` keeps what was found until the machine's next boot."""

    folder: Path
    account: Account
    device: Path = DEVICE

    def problem(self, kernel: Path | None, kind: Kind) -> str:
        """Why no guest can use it, empty if one can. Takes up to 10 s, once.

        Without a kernel to try, only what is certain: that it cannot be used.
        """
        if not self.device.exists():
            return f"there is no {self.device}"
        try:
            process.run(self.account.argv("test", "-r", str(self.device), "-a", "-w", str(self.device)))
        except TestbedError:
            return f"{self.device} is not open to {self.account.name}: usermod -aG kvm {self.account.name}"
        if kernel is None:
            return "not tried yet: there is no image"
        known = self._known()
        if known is None:
            known = self._boot(kernel, kind)
            self._keep(known)
        return known

    def _boot(self, kernel: Path, kind: Kind) -> str:
        command = (
            *(f"qemu-system-{kind.emulator}", "-machine", kind.machine, "-enable-kvm", "-cpu", "max"),
            *("-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-kernel", "/dev/stdin", "-append", f"console={kind.console} panic=-1"),
        )
        try:
            # by its descriptor: the account may not go where the file is
            with kernel.open("rb") as opened:
                said = process.run(self.account.argv(*command), timeout=_LIMIT, stdin=opened, codes=(0, 1))
        except TestbedError as error:
            why = error.details.splitlines()[1:] or [f"not within {_LIMIT:.0f} s"]
            return f"it booted no kernel: {why[-1]}"
        last = said.strip().splitlines()[-1:] or ["the kernel said nothing"]
        return "" if _BOOTED in said else f"it booted no kernel: {last[0]}"

    @property
    def _file(self) -> Path:
        return self.folder / "kvm.json"

    def _known(self) -> str | None:
        try:
            kept = json.loads(self._file.read_bytes())
            same = kept["boot"] == _BOOT_ID.read_text().strip()
            fresh = not kept["problem"] or time.time() - kept["at"] < _AGAIN
            return str(kept["problem"]) if same and fresh else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, problem: str) -> None:
        kept = {"boot": _BOOT_ID.read_text().strip(), "problem": problem, "at": time.time()}
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(kept))
        written.replace(self._file)
