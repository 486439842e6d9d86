# SPDX-License-Identifier: AGPL-3.0-or-later
"""``python -m worker``: one worker process, configured by ``TESTYARD_CONFIG`` and environment.

SIGTERM or SIGHUP: finish what runs, take no more, end. A second SIGTERM, or SIGINT: give what runs
back, end.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from typing import IO

from testyard.errors import SettingsError, TestbedError, TestyardError
from testyard.settings import Settings, Worker, load_settings
from worker.command import knows_ppas
from worker.live import LiveSender
from worker.loop import WorkerLoop
from worker.metrics import Metrics
from worker.rules import Rules
from worker.testbed.account import testbed_account
from worker.testbed.base import Testbed, Workspace
from worker.testbed.null import NullTestbed
from worker.testbed.tree import TreeCache
from worker.testbed.unshare import UnshareTestbed
from worker.tools import Tools

log = logging.getLogger(__name__)


def main() -> int:
    """Run until told to end; 0 if that went well, 2 if the settings are wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its failures reach us as errors, once
    logging.getLogger("swiftclient").setLevel(logging.CRITICAL)
    try:
        settings = load_settings()
        testbed = make_testbed(settings.worker)
        with _own_folder(settings.worker):
            _clear_leftovers(settings.worker, testbed)
            _work(settings, testbed)
    except TestyardError as error:
        log.error("%s", error)
        return 2
    return 0


def make_testbed(settings: Worker) -> Testbed:
    """The configured kind of testbed. Raises TestbedError."""
    if settings.testbed == "null":
        log.warning("testbed null: tests run on this machine, unprotected")
        return NullTestbed(settings.source_dir)
    account = testbed_account(settings.testbed_user)
    trees = TreeCache(settings.tree_dir, account, settings.tree_max_age)
    return UnshareTestbed(account, trees, settings.source_dir)


def _work(settings: Settings, testbed: Testbed) -> None:
    sender = LiveSender(settings.broker.url.get_secret_value())
    sender.start()
    worker = settings.worker
    metrics = Metrics(worker.slots)
    rules = Rules.load(worker.rules)
    tools = Tools(settings, testbed, sender, metrics, rules, threading.Semaphore(worker.slots), knows_ppas())
    loop = WorkerLoop(tools, settings.topology.queues(), worker.work_dir / "worker.alive")
    signal.signal(signal.SIGTERM, lambda *_: loop.stop() if loop.draining else loop.drain())
    signal.signal(signal.SIGHUP, lambda *_: loop.drain())
    signal.signal(signal.SIGINT, lambda *_: loop.stop())
    with metrics.served(worker.metrics_host, worker.metrics_port):
        loop.run()
    sender.finish(timeout=5)


def _own_folder(settings: Worker) -> IO[str]:
    """Lock the work folder. Raises SettingsError if another worker has it, or it cannot be made."""
    try:
        settings.work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (settings.work_dir / "worker.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingsError(
            f"worker.work_dir: another worker uses {settings.work_dir}",
            resolution="Give each worker process a folder of its own.",
        ) from error
    except OSError as error:
        raise SettingsError(f"worker.work_dir: {error}") from error
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _clear_leftovers(settings: Worker, testbed: Testbed) -> None:
    """Remove the folders of runs that a killed worker left; their requests come again."""
    runs = settings.work_dir / "runs"
    for folder in runs.iterdir() if runs.is_dir() else ():
        log.info("removing what a killed worker left: %s", folder.name)
        try:
            testbed.remove(Workspace(folder))
        except TestbedError as error:  # its processes may still be dying; its name is used by no other run
            log.warning("%s stays for now: %s", folder, error.brief)


if __name__ == "__main__":
    sys.exit(main())
