# SPDX-License-Identifier: AGPL-3.0-or-later
"""``python -m worker``: one worker process, configured by ``TESTYARD_CONFIG`` and environment.

SIGTERM or SIGHUP: finish what runs, take no more, end. A second SIGTERM, or SIGINT: give what runs
back, end. ``--check``: say as JSON what keeps its hosts from running tests, and end.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from typing import IO

from testyard.adapters.amqp import SharedPublisher
from testyard.adapters.swift import SwiftStore
from testyard.errors import ResultError, SettingsError, StoreError, TestyardError
from testyard.hosts import Host as HostSettings
from testyard.settings import Settings, Worker, load_settings
from worker.control import Controller
from worker.hosts import Host, HostPool
from worker.live import LiveSender
from worker.loop import WorkerLoop
from worker.metrics import Metrics
from worker.order import TurnKeeper
from worker.rules import Rules
from worker.testbed.kinds import KeptTestbeds
from worker.tidying import Tidier, clear_folders
from worker.tools import Tools

log = logging.getLogger(__name__)

#: Seconds that the first look for orders may take; without a store nothing could run anyway.
_FIRST_LOOK = 10.0


def main() -> int:
    """Run until told to end; 0 if that went well, 2 if the settings are wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its failures reach us as errors, once
    logging.getLogger("swiftclient").setLevel(logging.CRITICAL)
    try:
        settings = load_settings()
        if sys.argv[1:] == ["--check"]:
            json.dump([check(host, settings.worker) for host in settings.worker.all_hosts()], sys.stdout)
            return 0
        testbeds = KeptTestbeds()
        pool = HostPool(make_hosts(settings.worker, testbeds), failures=settings.worker.host_failures)
        with _own_folder(settings.worker):
            clear_folders(settings.worker, pool)
            _work(settings, pool, testbeds)
    except TestyardError as error:
        log.error("%s", error)
        return 2
    return 0


def check(host: HostSettings, settings: Worker) -> dict[str, object]:
    """A host's name, and what keeps it from running tests."""
    try:
        found = [(problem.what, problem.mend) for problem in KeptTestbeds().of(host, settings).problems()]
    except TestyardError as error:
        found = [(error.brief, error.resolution)]
    return {
        "host": host.name,
        "testbed": str(getattr(host, "testbed", "")),
        "slots": host.slots,
        "problems": [{"what": what, "mend": mend} for what, mend in found],
    }


def make_hosts(settings: Worker, testbeds: KeptTestbeds) -> list[Host]:
    """The hosts that the settings name, with their testbeds. Raises TestbedError, SettingsError."""
    hosts = [Host(host, testbeds.of(host, settings)) for host in settings.all_hosts()]
    for host in hosts:
        if host.testbed.name == "null":
            log.warning("host %s: testbed null: tests run on this machine, unprotected", host.name)
    return hosts


def _work(settings: Settings, pool: HostPool, testbeds: KeptTestbeds) -> None:
    url = settings.broker.url.get_secret_value()
    sender = LiveSender(url)
    sender.start()
    worker = settings.worker
    metrics = Metrics(pool)
    tools = Tools(
        settings,
        pool,
        store=SwiftStore(settings.store),
        publisher=SharedPublisher(url),
        keeper=TurnKeeper(url),
        sender=sender,
        metrics=metrics,
        rules=Rules.load(worker.rules),
    )
    loop = WorkerLoop(tools, worker.work_dir / "worker.alive")
    control = Controller(
        settings, tools.store, pool, lambda: loop.reload(read_again(tools, testbeds)), lambda: loop.draining
    )
    pool.on_drain = control.drain
    tidier = Tidier(pool, testbeds.owners)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop() if loop.draining else loop.drain())
    signal.signal(signal.SIGHUP, lambda *_: loop.drain())
    signal.signal(signal.SIGINT, lambda *_: loop.stop())
    with suppress(StoreError, ResultError):  # without a store nothing runs; it is asked for again and again
        control.check_name()
    with metrics.served(worker.metrics_host, worker.metrics_port):
        control.start()
        control.heard.wait(_FIRST_LOOK)  # what is drained stays so over a new start
        tidier.start()
        loop.run()
    tidier.stop()
    control.stop()
    tools.keeper.close()
    sender.finish(timeout=5)


def read_again(tools: Tools, testbeds: KeptTestbeds) -> Tools:
    """The tools with the settings of now; the pool has their hosts then.

    Raises TestyardError if something is wrong with them, and all is as before.
    """
    found, old = load_settings(), tools.settings
    for key in ("broker", "store"):
        if getattr(found, key) != getattr(old, key):
            raise SettingsError(f"{key}: a change needs a new start of the worker")
    for key in ("name", "work_dir", "metrics_host", "metrics_port", "host_failures", "announce"):
        if getattr(found.worker, key) != getattr(old.worker, key):
            raise SettingsError(f"worker.{key}: a change needs a new start of the worker")
    hosts, rules = make_hosts(found.worker, testbeds), Rules.load(found.worker.rules)
    tools.pool.replace(hosts)
    return replace(tools, settings=found, rules=rules)


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


if __name__ == "__main__":
    sys.exit(main())
