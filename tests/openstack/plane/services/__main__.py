# SPDX-License-Identifier: AGPL-3.0-or-later
"""One service, all of it in one process, on loopback:

    python -m tests.openstack.plane.services NAME PORT [HOST…]

HOST: Nova's. Where the configuration is, the environment says (`tests.openstack.plane.parts`).
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

#: Where each service keeps its WSGI application.
APPLICATIONS = {
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "neutron": "neutron.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
    "cinder": "cinder.wsgi.api",
}
#: Enough for a terraform with its ten requests at a time.
_THREADS = 12


def serve(name: str, port: int, hosts: Sequence[str]) -> None:
    """Serve until killed; it answers once all its workers have started."""
    sys.argv = [name]  # the services read it, too
    if name == "cinder":
        sys.argv += ["--config-file", os.environ["CINDER_CONFIG_FILE"]]
        from cinder import monkey_patch  # noqa: PLC0415  before all else, so its documentation

        monkey_patch.patch()
    application = importlib.import_module(APPLICATIONS[name]).application
    if name == "nova":
        importlib.import_module("tests.openstack.plane.services.compute").start(hosts)
    if name == "cinder":
        importlib.import_module("tests.openstack.plane.services.storage").start()
    from cheroot.wsgi import Server  # noqa: PLC0415

    Server(
        ("127.0.0.1", port), application, numthreads=_THREADS, request_queue_size=128, timeout=60
    ).safe_start()


if __name__ == "__main__":
    try:
        serve(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the threads of one that has half started would hold the process
