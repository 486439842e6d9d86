# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orders for workers, and what workers say of themselves."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.unit.worker.memory import MemoryStore
from testyard import control
from testyard.control import ALL_HOSTS, GONE_AFTER, HostReport, Orders, WorkerReport
from testyard.errors import ResultError
from testyard.store import CLAIMS

HOSTS = tuple(HostReport(name, "null", 2, 0, "") for name in ("one", "two", "three"))
WORKER = WorkerReport("a worker/1", "1.0", "machine", 1.0, HOSTS)


def reasons(store: MemoryStore) -> dict[str, str]:
    found = control.orders(store, WORKER.name)
    return {host.name: found.reason(host.name) for host in HOSTS if found.reason(host.name)}


def test_a_worker_without_orders_works() -> None:
    assert control.orders(MemoryStore(), "anyone") == Orders()
    assert reasons(MemoryStore()) == {}


def test_drain_and_resume_a_host() -> None:
    store = MemoryStore()
    control.drain(store, WORKER.name, "one", "a new kernel")
    control.drain(store, WORKER.name, "two", "no room")
    assert reasons(store) == {"one": "a new kernel", "two": "no room"}
    control.resume(store, WORKER, "one")
    assert reasons(store) == {"two": "no room"}
    assert control.orders(store, "another") == Orders()


def test_drain_and_resume_all_hosts() -> None:
    store = MemoryStore()
    control.drain(store, WORKER.name, ALL_HOSTS, "we move")
    assert reasons(store) == dict.fromkeys(("one", "two", "three"), "we move")
    control.resume(store, WORKER, "two")  # the others stay as they are
    assert reasons(store) == {"one": "we move", "three": "we move"}
    control.resume(store, WORKER, ALL_HOSTS)
    assert reasons(store) == {}


def test_a_reload_keeps_what_is_drained_and_has_a_name_of_its_own() -> None:
    store = MemoryStore()
    control.drain(store, WORKER.name, "one", "x")
    first, second = control.reload(store, WORKER.name), control.reload(store, WORKER.name)
    assert first != second
    assert control.orders(store, WORKER.name) == Orders({"one": "x"}, second)


def test_reports_are_found_and_forgotten() -> None:
    store = MemoryStore()
    control.report(store, here := replace(WORKER, said=time.time()))
    control.report(store, silent := replace(WORKER, name="silent", said=time.time() - GONE_AFTER - 1))
    assert control.workers(store) == (here, silent)
    assert [worker.gone for worker in control.workers(store)] == [False, True]
    assert {stored.expire_after for stored in store.objects.values()} == {7 * 86400}


@pytest.mark.parametrize(
    "body", [b"\xff", b"[]", b"{", b'{"drained": []}', b'{"drained": {"one": 1}}', b"{}"]
)
def test_orders_that_cannot_be_read_name_the_worker(body: bytes) -> None:
    store = MemoryStore()
    store.ensure_container(CLAIMS)
    store.put(CLAIMS, "control/w", body)
    with pytest.raises(ResultError, match=r"control/w|worker w"):
        control.orders(store, "w")


@pytest.mark.parametrize("body", [b"{}", b'{"hosts": [{}]}', b'{"hosts": [], "newer": 1}'])
def test_a_report_of_another_version_is_left_out(body: bytes) -> None:
    store = MemoryStore()
    control.report(store, WORKER)
    store.put(CLAIMS, "workers/other", body)
    assert control.workers(store) == (WORKER,)
