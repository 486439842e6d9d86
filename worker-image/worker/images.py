# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images for the containers of LXD hosts that have no worker, made on the host itself.

    python -m worker.images          # settings: TESTYARD_CONFIG

makes, for each host of kind ``lxd`` in the settings, an image for each of its releases and architectures
that has none or an old one. A worker elsewhere then finds them young and makes none: for `armhf` it would
have to emulate the processor. Ends with 1 if one could not be made; the others are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from testyard.errors import TestyardError
from testyard.hosts import LxdHost
from testyard.settings import Settings, load_settings
from worker.testbed.account import testbed_account
from worker.testbed.lxd_images import ContainerRecipe, LxdImages
from worker.testbed.lxd_server import LxdServer
from worker.testbed.tree import TreeCache

log = logging.getLogger(__name__)


def all_images(settings: Settings) -> Iterator[tuple[LxdImages, str, str]]:
    """Each image that is wanted: where, for which release and architecture. Raises TestbedError."""
    worker = settings.worker
    account = testbed_account(worker.testbed_user)
    trees = TreeCache(worker.tree_dir, account, worker.tree_max_age, ContainerRecipe())
    for host in worker.all_hosts():
        if not isinstance(host, LxdHost):
            continue
        images = LxdImages(host, LxdServer(host, worker.work_dir / "lxd" / host.name, account), trees)
        for release in host.releases or settings.topology.releases:
            for architecture in host.architectures or settings.topology.architectures:
                yield images, release, architecture


def main() -> int:
    """See the module."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failed = 0
    try:
        settings = load_settings()
        for images, release, architecture in all_images(settings):
            images.server.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                images.ensure(release, architecture, log.info, lambda: False)
                log.info("%s is there", images.alias(release, architecture))
            except TestyardError as error:
                log.error("%s", error)
                failed += 1
    except (OSError, TestyardError) as error:
        log.error("%s", error)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
