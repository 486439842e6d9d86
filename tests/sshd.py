# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another machine, as far as ssh can tell: a real sshd with processes and a /tmp of its own. Needs root."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: sshd, in namespaces whose /tmp is its folder; all that a client may ask for is allowed.
_FAR = """\
mount --bind "$1" /tmp && mount -t tmpfs none /run && mkdir -m 755 /run/sshd &&
exec /usr/sbin/sshd -D -E /tmp/log -f /dev/null -p "$3" -o ListenAddress="$2" -h /tmp/host \
    -o PidFile=none -o AuthorizedKeysFile=/tmp/key.pub -o StrictModes=no -o PermitRootLogin=yes \
    -o LogLevel=DEBUG1 -o AcceptEnv=* -o AllowAgentForwarding=yes -o X11Forwarding=yes \
    -o AllowTcpForwarding=yes
"""
_APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def make_key(file: Path) -> None:
    """A pair without a passphrase; the public one is ``<file>.pub``."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)


@contextmanager
def far_machine(folder: Path, address: str, port: int) -> Iterator[None]:
    """It listens. ``folder`` has its private key (``host``) and who may log in (``key.pub``)."""
    folder.chmod(0o1777)
    log = folder / "log"
    log.touch()
    server = subprocess.Popen([*_APART, "sh", "-c", _FAR, "sh", str(folder), address, str(port)])
    try:
        deadline = time.monotonic() + 20
        while "Server listening" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        server.kill()
        server.wait()
