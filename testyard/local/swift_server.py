# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole OpenStack Swift in one process: proxy, account, container and object server, on loopback.

    python -m testyard.local.swift_server --root DIR --port N --backend-ports A,B,C

DIR holds ``secrets.json`` (`testyard.local.swift_secrets`). A SIGKILL at any moment loses no
acknowledged object: Swift links a file to its name only when it is whole. eventlet patches the whole
process, so nothing else may run in it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from testyard.errors import SettingsError, TestyardError
from testyard.local.ports import LOOPBACK
from testyard.local.swift_conf import KINDS, SwiftFolder, prepare
from testyard.local.swift_guard import expect_secret, sign_requests
from testyard.local.swift_log import log_to_stderr
from testyard.local.swift_secrets import load_secrets

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

GRACE = 10.0  # seconds that requests in flight get at SIGTERM


class Flights:
    """Counts the requests that are being answered."""

    def __init__(self) -> None:
        self.count = 0

    def counted(self, application: Application) -> Application:
        """``application``, counted from the request's arrival to its last byte."""

        def wrapped(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            self.count += 1
            try:
                chunks = application(environ, start_response)
                try:
                    yield from chunks
                finally:
                    if hasattr(chunks, "close"):
                        chunks.close()
            finally:
                self.count -= 1

        return wrapped


class Housekeeper:
    """The child that tends the store; started anew when it dies."""

    def __init__(self, root: Path) -> None:
        self._argv = [sys.executable, "-m", "testyard.local.swift_tend", "--root", str(root)]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._argv, "--parent", str(os.getpid())], stdin=subprocess.DEVNULL)

    def watch(self) -> None:
        """Start it anew if it died."""
        if self._process.poll() is not None:
            self._process = self._start()

    def stop(self) -> None:
        """End it; nothing it does is lost, as each step of it can be repeated."""
        self._process.kill()


def patch_process(folder: SwiftFolder, back_end_secret: str) -> None:
    """Make this process Swift's: eventlet's patching, its folder, its log, the back-ends' secret."""
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    import swift.common.utils as swift_utils  # noqa: PLC0415  from here on the process is patched

    swift_utils.monkey_patch()
    log_to_stderr()
    swift_utils.set_swift_dir(str(folder.etc))
    swift_utils.validate_configuration()
    warnings.filterwarnings("ignore", message="capitalize_response_headers")
    expect_secret(back_end_secret)
    sign_requests(back_end_secret)


def listen(name: str, port: int) -> Any:
    """A listening socket. Raises SettingsError when the port is taken."""
    import eventlet  # noqa: PLC0415

    try:
        # eventlet's default is reuse_port=True: two servers would share a port and never know
        return eventlet.listen((LOOPBACK, port), backlog=1024, reuse_addr=True, reuse_port=False)
    except OSError as error:
        raise SettingsError(f"{name}: port {port} cannot be used: {error.strerror}.") from error


def serve(sock: Any, application: Application) -> None:
    """Serve ``application`` on ``sock`` in a green thread."""
    import eventlet  # noqa: PLC0415
    import eventlet.wsgi  # noqa: PLC0415
    from swift.common.http_protocol import SwiftHttpProtocol  # noqa: PLC0415
    from swift.common.utils import NullLogger  # noqa: PLC0415

    eventlet.spawn(
        eventlet.wsgi.server,
        sock,
        application,
        NullLogger(),
        custom_pool=eventlet.GreenPool(1024),
        protocol=SwiftHttpProtocol,
        socket_timeout=60,
        capitalize_response_headers=False,
        keepalive=60,
    )


def start_servers(folder: SwiftFolder, port: int, back_end_ports: tuple[int, ...], flights: Flights) -> Any:
    """Start the four servers, the proxy last, and return the proxy's socket."""
    from swift.common.wsgi import loadapp  # noqa: PLC0415

    sock = None
    for name, number in (*zip(KINDS, back_end_ports, strict=True), ("proxy", port)):
        application = loadapp(str(folder.conf(name)), global_conf={"log_name": name})
        sock = listen(name, number)
        serve(sock, flights.counted(application) if name == "proxy" else application)
    return sock


def run(root: Path, port: int, back_end_ports: tuple[int, ...]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SettingsError when the folder cannot hold objects or a port is taken.
    """
    folder, secrets = SwiftFolder(root), load_secrets(root)
    prepare(folder, port, back_end_ports, secrets)
    patch_process(folder, secrets.back_end)
    import eventlet  # noqa: PLC0415

    flights, over = Flights(), eventlet.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.ready() or over.send(True))
    proxy_socket = start_servers(folder, port, back_end_ports, flights)
    housekeeper = Housekeeper(root)
    print(f"store: http://{LOOPBACK}:{port}", file=sys.stderr, flush=True)  # noqa: T201
    while not over.ready():
        with eventlet.Timeout(1.0, False):
            over.wait()
        housekeeper.watch()
    proxy_socket.close()  # back-ends stay open for what is in flight
    end = time.monotonic() + GRACE
    while flights.count and time.monotonic() < end:
        eventlet.sleep(0.05)
    housekeeper.stop()
    os._exit(0)  # idle keep-alive connections would hold the process


def main() -> None:
    """Entry point; problems go to stderr, which is the part's log."""
    parser = argparse.ArgumentParser(description="OpenStack Swift in one process, on loopback.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backend-ports", required=True, help="account, container and object: A,B,C")
    arguments = parser.parse_args()
    try:
        ports = tuple(int(number) for number in arguments.backend_ports.split(","))
        run(arguments.root.absolute(), arguments.port, ports)
    except TestyardError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
