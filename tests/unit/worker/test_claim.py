# SPDX-License-Identifier: AGPL-3.0-or-later
"""Claims: whose a request is, and when its owner is gone."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.memory import MemoryStore
from testyard.errors import CancelledRun, RequestError, StoreError
from testyard.request import TestRequest, make_request
from testyard.store import CLAIMS
from worker.claim import Claim, ClaimBook, ClaimState, Identity, Process, identify
from worker.lease import LeaseKeeper

ID = "0b0f7a1e-5a39-4c6e-9d53-3a4b6f0c2d11"
WITH_ID = make_request("gzip", {"uuid": ID})
WITHOUT = make_request("gzip", {})


def own_claim(request_id: str = ID, **more: object) -> Claim:
    return replace(Claim(request_id, "one", Process.current()), **more)  # type: ignore[arg-type]


def wait_for(condition: object, seconds: float = 5) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def identity(
    store: MemoryStore,
    request: TestRequest = WITHOUT,
    *,
    queue: str = "debci-a-b",
    body: bytes = b"x",
    redelivered: bool = False,
) -> Identity:
    digest = hashlib.sha256(body).hexdigest()
    return identify(ClaimBook(store, "two", 60), request, queue, digest, redelivered=redelivered)


def put_claim(store: MemoryStore, key: str, claim: Claim) -> None:
    store.ensure_container(CLAIMS)
    store.put(CLAIMS, key, claim.to_bytes())


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_request_with_an_id_is_the_one_that_the_claim_is_of(redelivered: bool) -> None:
    store = MemoryStore()
    first = identity(store, WITH_ID, redelivered=redelivered)
    assert (first.request_id, first.standing) == (ID, None)
    claim = ClaimBook(store, "one", 60).take(first.key, ID, digest=hashlib.sha256(b"x").hexdigest())
    again = identity(store, WITH_ID, redelivered=redelivered)
    assert again == Identity(ID, first.key, claim)
    with pytest.raises(RequestError, match=r"uuid: .* another request"):
        identity(store, WITH_ID, body=b"other bytes", redelivered=redelivered)
    elsewhere = identity(store, WITH_ID, queue="debci-a-c", redelivered=redelivered)
    assert (elsewhere.request_id, elsewhere.standing) == (ID, None)


def test_a_body_without_id_is_new_unless_redelivered() -> None:
    store = MemoryStore()
    first = identity(store)
    claim = ClaimBook(store, "one", 60).take(first.key, first.request_id)
    second = identity(store)
    assert second.standing is None
    assert second.key != first.key
    assert second.request_id != first.request_id
    assert identity(store, redelivered=True) == Identity(first.request_id, first.key, claim)


@pytest.mark.parametrize("change", [{"queue": "debci-a-c"}, {"body": b"y"}])
def test_another_queue_or_body_is_another_request(change: dict[str, Any]) -> None:
    store = MemoryStore()
    first = identity(store)
    ClaimBook(store, "one", 60).take(first.key, first.request_id)
    assert identity(store, redelivered=True, **change).standing is None


def test_a_redelivered_body_that_nobody_claimed_is_new() -> None:
    store = MemoryStore()
    one, two = identity(store, redelivered=True), identity(store, redelivered=True)
    assert (one.standing, two.standing) == (None, None)
    assert one.request_id != two.request_id


def test_of_equal_bodies_the_redelivered_one_is_most_likely_the_one_whose_worker_is_gone() -> None:
    store = MemoryStore()
    folder = identity(store).key.rpartition("/")[0]
    now = time.time()
    kinds = {
        "older": own_claim("older", state=ClaimState.DONE, renewed=now - 500),
        "done": own_claim("done", state=ClaimState.DONE, renewed=now),
        "runs": own_claim("runs", renewed=now - 1),
        "gone": own_claim("gone", process=replace(Process.current(), start="1"), renewed=now - 9),
    }
    for name, claim in kinds.items():
        put_claim(store, f"{folder}/{name}", claim)
    store.put(CLAIMS, f"{folder}/broken", b"no claim")
    for expected in ("gone", "runs", "done", "older"):
        found = identity(store, redelivered=True)
        assert found == Identity(expected, f"{folder}/{expected}", kinds[expected])
        store.delete(CLAIMS, found.key)


def test_a_claim_is_read_as_it_was_written() -> None:
    claim = own_claim(state=ClaimState.STORING, container="c", path="p", renewed=12.5)
    assert Claim.from_bytes(claim.to_bytes()) == claim


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"\xff", b'{"process": 5}', b'{"state": "done"}']
)
def test_what_is_no_claim_claims_nothing(data: bytes) -> None:
    assert Claim.from_bytes(data) is None


def test_what_was_given_back_is_anybodys_at_once() -> None:
    assert own_claim(state=ClaimState.RETURNED).void(lease=60)


@pytest.mark.parametrize(
    ("state", "deaths"),
    [(ClaimState.RUNNING, 3), (ClaimState.STORING, 2), (ClaimState.RETURNED, 2), (ClaimState.DONE, 2)],
)
def test_only_a_worker_that_ran_it_died_of_it(state: ClaimState, deaths: int) -> None:
    store = MemoryStore()
    put_claim(store, f"debci-a-b/id/{ID}", own_claim(state=state, deaths=2))
    found = identity(store, WITH_ID)
    assert found.deaths == deaths
    taken = ClaimBook(store, "two", 60).take(found.key, ID, deaths=found.deaths)
    assert identity(store, WITH_ID).standing == taken
    assert taken.deaths == deaths


def test_nobody_died_of_a_new_request() -> None:
    assert identity(MemoryStore()).deaths == 0


def test_void_by_silence() -> None:
    assert not own_claim(renewed=time.time() - 5).void(lease=60)
    assert own_claim(renewed=time.time() - 61).void(lease=60)


def _process_of(pid: int) -> Process:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return replace(Process.current(), pid=pid, start=fields[19])


def test_a_killed_process_is_dead_also_before_it_is_reaped() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        process = _process_of(child.pid)
        claim = own_claim(process=process)
        assert not process.surely_dead()
        assert not claim.void(lease=60)
        child.kill()
        wait_for(lambda: ") Z" in Path(f"/proc/{child.pid}/stat").read_text())
        assert process.surely_dead()
        assert claim.void(lease=60)
    finally:
        child.kill()
        child.wait()
    assert process.surely_dead()


def test_the_pid_of_another_process_now_is_dead() -> None:
    assert not Process.current().surely_dead()
    assert replace(Process.current(), start="1").surely_dead()


@pytest.mark.parametrize("change", [{"boot": "another"}, {"namespace": 1}])
def test_what_cannot_be_seen_is_not_surely_dead(change: dict[str, object]) -> None:
    gone = replace(Process.current(), start="1", **change)  # type: ignore[arg-type]
    assert not gone.surely_dead()
    assert own_claim(process=gone, renewed=time.time() - 61).void(lease=60)


def test_take_read_renew() -> None:
    store = MemoryStore()
    book = ClaimBook(store, "one", 60)
    assert book.read("id/x") is None
    claim = book.take("id/x", "x")
    assert book.read("id/x") == claim
    assert store.acls == {CLAIMS: ""}
    renewed = book.renew("id/x", claim, state=ClaimState.STORING, container="c", path="p")
    assert renewed is not None
    assert book.read("id/x") == renewed
    assert (renewed.token, renewed.state, renewed.path) == (claim.token, ClaimState.STORING, "p")
    assert renewed.renewed >= claim.renewed
    assert (store.objects[CLAIMS, "id/x"].expire_after or 0) > 86400


def test_renewing_a_claim_that_another_took_changes_nothing() -> None:
    store = MemoryStore()
    first, second = ClaimBook(store, "one", 60), ClaimBook(store, "two", 60)
    old = first.take("id/x", "x")
    new = second.take("id/x", "x")
    assert first.renew("id/x", old, state=ClaimState.DONE) is None
    assert first.read("id/x") == new


def test_a_claim_that_the_store_forgot_is_written_again() -> None:
    store = MemoryStore()
    book = ClaimBook(store, "one", 60)
    claim = book.take("id/x", "x")
    store.delete(CLAIMS, "id/x")
    renewed = book.renew("id/x", claim)
    assert renewed is not None
    assert book.read("id/x") == renewed


def test_renewals_go_on_and_keep_what_was_noted() -> None:
    store = MemoryStore()
    book = ClaimBook(store, "one", 0.15)
    claim = book.take("k", "x")
    cancelled = threading.Event()
    with LeaseKeeper(ClaimBook(store, "one", 0.15), "k", claim, cancelled) as lease:
        lease.advance(state=ClaimState.STORING, container="c", path="p")
        noted = lease.claim.renewed
        wait_for(lambda: lease.claim.renewed > noted + 0.1)
        store.away = True
        time.sleep(0.2)
        store.away = False
        back = lease.claim.renewed
        wait_for(lambda: lease.claim.renewed > back)
    standing = book.read("k")
    assert standing is not None
    assert (standing.state, standing.container, standing.path) == (ClaimState.STORING, "c", "p")
    assert standing.token == claim.token
    assert (lease.lost, cancelled.is_set()) == (False, False)
    count = len(store.written)
    time.sleep(0.15)
    assert len(store.written) == count  # it ended with the run


def test_takeover_is_seen_and_ends_the_run() -> None:
    store = MemoryStore()
    claim = ClaimBook(store, "one", 0.15).take("k", "x")
    cancelled = threading.Event()
    with LeaseKeeper(ClaimBook(store, "one", 0.15), "k", claim, cancelled) as lease:
        assert not cancelled.is_set()
        taken = ClaimBook(store, "two", 60).take("k", "x")
        assert cancelled.wait(5)
        assert lease.lost
        with pytest.raises(CancelledRun):
            lease.advance(state=ClaimState.DONE)
    assert ClaimBook(store, "two", 60).read("k") == taken


def test_a_lost_claim_stays_lost() -> None:
    store = MemoryStore()
    claim = ClaimBook(store, "one", 600).take("k", "x")
    with LeaseKeeper(ClaimBook(store, "one", 600), "k", claim, threading.Event()) as lease:
        ClaimBook(store, "two", 60).take("k", "x")
        with pytest.raises(CancelledRun):
            lease.advance()
        store.delete(CLAIMS, "k")
        with pytest.raises(CancelledRun):
            lease.advance()
        assert store.get(CLAIMS, "k") is None


def test_advance_tells_that_the_store_is_away() -> None:
    store = MemoryStore()
    claim = ClaimBook(store, "one", 600).take("k", "x")
    with LeaseKeeper(ClaimBook(store, "one", 600), "k", claim, threading.Event()) as lease:
        store.away = True
        with pytest.raises(StoreError):
            lease.advance(state=ClaimState.DONE)
        assert (lease.lost, lease.claim.state) == (False, ClaimState.RUNNING)
