# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ties a child's life to its parent's, SIGKILL included.

    python -m testyard.local.lifeline PARENT_PID PROGRAM [ARGUMENT…]

becomes PROGRAM, which the kernel kills once process PARENT_PID is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGKILL to this process once its parent, process ``parent``, ends.

    Exits at once when the parent is gone already. The wish survives exec, not fork.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(f"process {parent} is gone")


def main() -> None:
    """Entry point."""
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  an argv list, no shell


if __name__ == "__main__":
    main()
