# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's qemu runner, mended for machines that are slow or busy: run inside, in its place,
by the system's own Python.

    qemu_runner.py FACTOR OPTION…

Its time limits are numbers in its code, e.g. 10 s to mount a folder and 1 s for the root shell to
answer; all are set by `signal.alarm`. Here they are FACTOR times as long, and none is shorter than 6 s
times FACTOR: seen with six times more to do than processors, a shell that took more than 10 s.

It waits for an answer of the guest's shell and then for the prompt. A reader that comes late finds both
in one piece, takes the prompt for a part of the answer, and waits for it in vain (seen with 5.28: each
time under emulation). Here it reads byte by byte, so that each wait ends right behind what was waited for.
"""

import runpy
import signal
import socket
import sys

RUNNER = "/usr/bin/autopkgtest-virt-qemu"
SHORTEST = 6


def main() -> None:
    factor = int(sys.argv.pop(1))
    alarm, receive = signal.alarm, socket.socket.recv
    signal.alarm = lambda seconds: alarm(seconds and max(seconds, SHORTEST) * factor)
    socket.socket.recv = lambda self, size, flags=0: receive(self, min(size, 1), flags)  # type: ignore[method-assign]
    sys.argv[0] = RUNNER
    runpy.run_path(RUNNER, run_name="__main__")


if __name__ == "__main__":
    main()
