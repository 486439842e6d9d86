# SPDX-License-Identifier: AGPL-3.0-or-later
"""The unprivileged account that testbeds run as."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import TestbedError
from worker import process


@dataclass(frozen=True)
class Account:
    """A user with sub-ids. ``switch`` is true if the worker is root and has to become it.

    ``group`` is a number: the only further group of its processes, in place of those that it is in.
    """

    name: str
    uid: int
    gid: int
    switch: bool
    group: int | None = None

    def argv(self, *command: str) -> list[str]:
        """The command as this user; it is killed when the thread that started it ends."""
        groups = ["--init-groups"] if self.group is None else ["--groups", str(self.group)]
        change = ["--reuid", str(self.uid), "--regid", str(self.gid), *groups, "--inh-caps=-all"]
        return ["setpriv", *(change if self.switch else []), "--pdeathsig", "KILL", *command]

    def give(self, path: Path) -> None:
        """Make the account owner of a file or folder."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder that testbeds wrote to, with whatever owners they left.

        Raises TestbedError if something of it stays.
        """
        if not path.exists():
            return
        command = ["rm", "-rf", "--one-file-system", "--", str(path)]
        if not self.switch:
            command = ["unshare", "--map-auto", "--map-root-user", *command]
        process.run(command)


def testbed_account(name: str) -> Account:
    """The account for testbeds: the named one if the worker is root, else the worker's own.

    Raises TestbedError if it does not exist, is root, or has no sub-ids.
    """
    if os.geteuid() == 0:
        if not name:
            raise TestbedError(
                "worker.testbed_user: not set, and the worker is root",
                resolution="Name an unprivileged account; testbeds never run as root.",
            )
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            raise TestbedError(
                f"worker.testbed_user: no account {name}",
                resolution=f"Create it: useradd --system --add-subids-for-system --create-home {name}",
            ) from error
    else:
        entry = pwd.getpwuid(os.geteuid())
    _check_sub_ids(entry)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=os.geteuid() == 0)


testbed_account.__test__ = False  # type: ignore[attr-defined]  # its name begins with test; not a test


def _check_sub_ids(entry: pwd.struct_passwd) -> None:
    if entry.pw_uid == 0:
        raise TestbedError("worker.testbed_user: must not be root")
    for kind in ("subuid", "subgid"):
        lines = _lines(Path("/etc") / kind)
        if not any(line.split(":")[0] in (entry.pw_name, str(entry.pw_uid)) for line in lines):
            first = max([100000, *(_range_end(line) for line in lines)])
            raise TestbedError(
                f"account {entry.pw_name} has no range in /etc/{kind}",
                resolution=f"Run as root: usermod --add-{kind}s {first}-{first + 65535} {entry.pw_name}",
            )


def _range_end(line: str) -> int:
    """The first id after a line's range; 0 for a line that is none."""
    parts = line.split(":")
    try:
        return int(parts[1]) + int(parts[2])
    except (IndexError, ValueError):
        return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
