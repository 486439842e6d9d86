# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether KVM works on this machine: a device proves nothing, so a kernel is booted once.

Seen: a machine in a cloud whose KVM (module kvm-pvm) opens, and stops each guest in its first second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from testyard.errors import TestbedError
from worker import process
from worker.testbed.account import Account
from worker.testbed.image import Kind
from worker.testbed.lock import locked

DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Seconds that a kernel may take until it looks for its disk. Usual: 2.
_LIMIT = 10.0
#: Seconds until a kernel that did not boot is tried again: the machine may have been busy.
_AGAIN = 3600.0
#: What it says then: it is given no disk.
_BOOTED = "Unable to mount root fs"


class Kvm:
    """KVM as an account may use it. ``folder`` keeps what was found until the machine's next boot."""

    def __init__(self, folder: Path, account: Account, device: Path = DEVICE) -> None:
        self._folder = folder
        self._account = account
        self._device = device
        self._said: str | None = None

    @property
    def known(self) -> str | None:
        """Why no guest can use it, as last found; empty if one can, None if none was tried. At once."""
        if not self._device.exists():
            return f"there is no {self._device}"
        return self._kept(seconds=None) if self._said is None else self._said

    def barred(self) -> str:
        """Why the account cannot open the device; empty if it can. Boots nothing."""
        if not self._device.exists():
            return f"there is no {self._device}"
        try:
            process.run(self._account.argv("test", "-r", str(self._device), "-a", "-w", str(self._device)))
        except TestbedError:
            name = self._account.name
            return f"{self._device} is not open to {name}: usermod -aG kvm {name}"
        return ""

    def problem(self, kernel: Path, kind: Kind, cancelled: Callable[[], bool]) -> str:
        """Why no guest can use it, empty if one can. Boots the kernel if need be: up to 10 s, once.

        Others who ask meanwhile wait for that answer. Raises CancelledRun soon after ``cancelled`` says true.
        """
        self._said = self.barred() or self._found(kernel, kind, cancelled)
        return self._said

    def _found(self, kernel: Path, kind: Kind, cancelled: Callable[[], bool]) -> str:
        # a file's lock: another worker process may have the same folder
        with locked(self._file.with_suffix(".lock"), cancelled):
            found = self._kept(seconds=_AGAIN)
            if found is None:
                found = self._boot(kernel, kind)
                self._keep(found)
            return found

    def _boot(self, kernel: Path, kind: Kind) -> str:
        command = (
            *(f"qemu-system-{kind.emulator}", "-machine", kind.machine, "-enable-kvm", "-cpu", "max"),
            *("-m", "256", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-kernel", "/dev/stdin", "-append", f"console={kind.console} panic=-1"),
        )
        try:
            # by its descriptor: the account may not go where the file is
            with kernel.open("rb") as opened:
                said = process.run(self._account.argv(*command), timeout=_LIMIT, stdin=opened, codes=(0, 1))
        except TestbedError as error:
            why = error.details.splitlines()[1:] or [f"not within {_LIMIT:.0f} s"]
            return f"it booted no kernel: {why[-1]}"
        last = said.strip().splitlines()[-1:] or ["the kernel said nothing"]
        return "" if _BOOTED in said else f"it booted no kernel: {last[0]}"

    @property
    def _file(self) -> Path:
        return self._folder / "kvm.json"

    def _kept(self, seconds: float | None) -> str | None:
        """What was found since the machine's boot; if that was a failure, not longer ago than this."""
        try:
            kept = json.loads(self._file.read_bytes())
            same = kept["boot"] == _BOOT_ID.read_text().strip()
            fresh = not kept["problem"] or seconds is None or time.time() - kept["at"] < seconds
            return str(kept["problem"]) if same and fresh else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, problem: str) -> None:
        kept = {"boot": _BOOT_ID.read_text().strip(), "problem": problem, "at": time.time()}
        written = self._file.with_suffix(".new")
        written.write_text(json.dumps(kept))
        written.replace(self._file)
