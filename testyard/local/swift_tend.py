# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store's housekeeper: late container updates, account totals, expiry, deleted accounts.

    python -m testyard.local.swift_tend --root DIR --parent PID

A process of its own, because Swift's updaters fork. With one replica there is nothing to replicate.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from testyard.local.lifeline import die_with_parent
from testyard.local.swift_conf import SwiftFolder
from testyard.local.swift_guard import sign_requests
from testyard.local.swift_secrets import load_secrets

INTERVAL = 30.0  # seconds between the starts of two rounds
# seconds before Swift is imported: 0.8 s of a core that the starting instance needs more
START_DELAY = 10.0


def make_daemons(folder: SwiftFolder, secret: str) -> list[Any]:
    """Swift's daemons, ready to run one round each."""
    # The updaters fork, and eventlet's threads do not live on in a child: what it hands to them would
    # wait for ever, with a container's lock held. Seen: every write to that container was refused.
    os.environ["EVENTLET_THREADPOOL_SIZE"] = "0"
    warnings.filterwarnings("ignore", message="Zero threads in tpool")  # it is meant so
    import swift.common.utils as swift_utils  # noqa: PLC0415  late: see START_DELAY

    swift_utils.monkey_patch()
    swift_utils.set_swift_dir(str(folder.etc))
    sign_requests(secret)
    from swift.account.reaper import AccountReaper  # noqa: PLC0415  after the patching
    from swift.container.updater import ContainerUpdater  # noqa: PLC0415
    from swift.obj.expirer import ObjectExpirer  # noqa: PLC0415
    from swift.obj.updater import ObjectUpdater  # noqa: PLC0415

    from testyard.local.swift_log import log_to_stderr  # noqa: PLC0415

    log_to_stderr()
    conf = str(folder.conf("tend"))
    made = []
    for section, daemon in (
        ("object-updater", ObjectUpdater),
        ("container-updater", ContainerUpdater),
        ("object-expirer", ObjectExpirer),
        ("account-reaper", AccountReaper),
    ):
        options = swift_utils.readconf(conf, section, log_name=section)
        options.update(swift_dir=str(folder.etc), internal_client_conf_path=conf)
        made.append(daemon(options, logger=swift_utils.get_logger(options, log_route=section)))
    return made


def tend(folder: SwiftFolder, secret: str) -> None:
    """Run a round each `INTERVAL` seconds, for ever."""
    daemons = make_daemons(folder, secret)
    while True:
        start = time.monotonic()
        for daemon in daemons:
            try:
                daemon.run_once()
            except Exception as error:  # noqa: BLE001  outermost loop: the next round tries again
                print(f"{type(daemon).__name__}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
        time.sleep(max(1.0, INTERVAL - (time.monotonic() - start)))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="The store's housekeeper.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    time.sleep(START_DELAY)
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    tend(SwiftFolder(arguments.root), load_secrets(arguments.root).back_end)


if __name__ == "__main__":
    main()
