# SPDX-License-Identifier: AGPL-3.0-or-later
"""Storing a run: ``result.tar`` last, at a place that was free, and to be read by whom it is for."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.memory import MemoryStore
from testyard.errors import CancelledRun, ResultError, StoreError
from testyard.queue import QueueName
from testyard.request import make_request
from testyard.result import Result, read_result_tar
from testyard.run import Phase, PhaseTime
from worker.claim import Claim, Process
from worker.execute import Bundle
from worker.publish import Publication, completion, remove_unfinished, stored_result

ID = "0b0f7a1e-5a39-4c6e-9d53-3a4b6f0c2d11"
QUEUE = QueueName("ubuntu", "noble", "amd64")
PRIVATE = {"swiftuser": "reader", "readable-by": ["alice", "team"]}


def publication(store: MemoryStore, **parameters: Any) -> Publication:
    fields = {name.replace("_", "-"): value for name, value in parameters.items()}
    return Publication(store, make_request("libpng", fields), QUEUE, ID, settle=0)


def ours() -> None:
    """The claim is still this worker's."""


def bundle(folder: Path) -> Bundle:
    log = folder / "log.gz"
    log.write_bytes(gzip.compress(b"text"))
    phases = (PhaseTime(Phase.TEST, 1.0, 2.0),)
    info = {"custom_environment": ["ADT_TEST_TRIGGERS=x1/1 y1/2"]}
    result = Result(4, "libpng", "1.6", 7, info, requester="someone", request_id=ID, phases=phases)
    return Bundle(result, log, b"artifacts")


def test_result_is_written_last(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store)
    path = one.choose_path()
    stored = one.store(path, bundle(tmp_path), iter([100.0, 103.5]).__next__, ours)
    assert store.written == [path.file(name) for name in ("log.gz", "artifacts.tar.gz", "result.tar")]
    assert str(path).startswith("noble/amd64/libp/libpng/")
    log = store.objects["autopkgtest-noble", path.file("log.gz")]
    artifacts = store.objects["autopkgtest-noble", path.file("artifacts.tar.gz")]
    assert (artifacts.content_type, artifacts.content_encoding) == ("application/x-tar", None)
    assert (log.content_type, log.content_encoding) == ("text/plain; charset=UTF-8", "gzip")
    tar = store.objects["autopkgtest-noble", path.file("result.tar")]
    assert (tar.content_type, tar.content_encoding) == ("application/x-tar", None)
    assert read_result_tar(tar.content) == stored
    assert stored.phases[-1] == PhaseTime(Phase.UPLOAD, 100.0, 3.5)
    assert store.acls == {"autopkgtest-noble": ".r:*,.rlistings"}


def test_a_run_that_another_worker_took_over_gets_no_result(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store)
    path = one.choose_path()

    def taken() -> None:
        raise CancelledRun("another worker has taken the request over")

    with pytest.raises(CancelledRun):
        one.store(path, bundle(tmp_path), lambda: 1.0, taken)
    assert path.file("result.tar") not in store.written


def test_a_place_is_never_used_twice(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store)
    paths = []
    for _ in range(4):
        path = one.choose_path()
        one.store(path, bundle(tmp_path), lambda: 1.0, ours)
        paths.append(str(path))
    assert paths == sorted(set(paths))


def test_a_place_with_anything_in_it_is_not_free() -> None:
    store = MemoryStore()
    one = publication(store)
    first = one.choose_path()
    store.put(one.container, first.file("log.gz"), b"")
    assert str(one.choose_path()) > str(first)


def test_private_run(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store, ppas=["owner/first", "owner/last"], **PRIVATE)
    path = one.choose_path()
    one.store(path, bundle(tmp_path), lambda: 1.0, ours)
    container = "private-autopkgtest-noble-owner-last"
    assert store.acls == {container: "*:reader"}
    names = ("log.gz", "artifacts.tar.gz", "readable-by", "result.tar")
    assert store.written == [path.file(name) for name in names]
    assert store.objects[container, path.file("readable-by")].content == b"alice\nteam\n"


def test_private_run_without_a_store_account_is_for_nobody_else(tmp_path: Path) -> None:
    store = MemoryStore()
    publication(store, readable_by=["alice"]).choose_path()
    assert store.acls == {"private-autopkgtest-noble": ""}


def test_completion(tmp_path: Path) -> None:
    store = MemoryStore()
    parameters = {
        "all-proposed": "1",
        "testname": "only",
        "triggers": ["x1/1", "y1/2"],
        "requester": "someone",
    }
    request = make_request("libpng", parameters)
    one = Publication(store, request, QUEUE, ID, settle=0)
    path = one.choose_path()
    result = one.store(path, bundle(tmp_path), lambda: 1.0, ours)
    message = completion(one.container, path, result, request)
    assert message is not None
    assert (message.release, message.architecture, message.package) == ("noble", "amd64", "libpng")
    assert (message.container, message.swift_dir) == ("autopkgtest-noble", str(path))
    assert (message.exitcode, message.duration, message.testpkg_version) == (4, 7, "1.6")
    assert (message.requester, message.triggers, message.uuid) == ("someone", "x1/1 y1/2", ID)
    assert message.env == "all-proposed=1,testname=only"


@pytest.mark.parametrize("parameters", [{"swiftuser": "reader"}, {"readable-by": ["alice"]}, PRIVATE])
def test_nobody_is_told_of_a_private_run(tmp_path: Path, parameters: dict[str, Any]) -> None:
    store = MemoryStore()
    request = make_request("libpng", parameters)
    one = Publication(store, request, QUEUE, ID, settle=0)
    path = one.choose_path()
    result = one.store(path, bundle(tmp_path), lambda: 1.0, ours)
    assert completion(one.container, path, result, request) is None


def claim_of(one: Publication, path: object) -> Claim:
    return replace(Claim(ID, "one", Process.current()), container=one.container, path=str(path))


def test_what_a_dead_worker_left(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store)
    done, half = one.choose_path(), None
    one.store(done, bundle(tmp_path), lambda: 1.0, ours)
    half = one.choose_path()
    for name in ("log.gz", "artifacts.tar.gz"):
        store.put(one.container, half.file(name), b"x")
    assert stored_result(store, claim_of(one, half)) is None
    remove_unfinished(store, claim_of(one, half))
    assert list(store.names(one.container)) == sorted(store.written[:3])
    found = stored_result(store, claim_of(one, done))
    assert found is not None
    assert (found.exit_code, found.request_id) == (4, ID)


def test_a_claim_without_a_place_has_no_result_and_nothing_to_remove(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store)
    one.store(one.choose_path(), bundle(tmp_path), lambda: 1.0, ours)
    before = dict(store.objects)
    claim = Claim(ID, "one", Process.current())
    assert stored_result(store, claim) is None
    remove_unfinished(store, claim)
    assert store.objects == before


def test_another_readers_run_is_found_where_its_claim_says(tmp_path: Path) -> None:
    store = MemoryStore()
    publication(store, swiftuser="first").choose_path()
    one = publication(store, swiftuser="second")
    path = one.choose_path()
    claim = claim_of(one, path)
    assert claim.container.startswith("private-autopkgtest-noble.for-")
    store.put(one.container, path.file("log.gz"), b"x")
    remove_unfinished(store, claim)
    assert store.objects == {}
    one.store(path, bundle(tmp_path), lambda: 1.0, ours)
    assert stored_result(store, claim) is not None
    assert {container for container, _ in store.objects} == {claim.container}


def test_what_is_there_but_unreadable_is_said() -> None:
    store = MemoryStore()
    one = publication(store)
    path = one.choose_path()
    store.put(one.container, path.file("result.tar"), b"no tar")
    with pytest.raises(ResultError):
        stored_result(store, claim_of(one, path))


def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    store = MemoryStore()
    one = publication(store)
    path = one.choose_path()
    store.away = True
    for action in (one.choose_path, lambda: one.store(path, bundle(tmp_path), lambda: 1.0, ours)):
        with pytest.raises(StoreError):
            action()


@pytest.mark.parametrize("parameters", [{}, PRIVATE])
def test_a_container_that_was_removed_meanwhile_is_made_again(
    tmp_path: Path, parameters: dict[str, Any]
) -> None:
    store = MemoryStore()
    one = publication(store, **parameters)
    path = one.choose_path()
    acls = dict(store.acls)
    store.acls.clear()
    with pytest.raises(StoreError):
        one.store(path, bundle(tmp_path), lambda: 0.0, ours)
    assert one.store(path, bundle(tmp_path), lambda: 0.0, ours).exit_code == 4
    assert store.acls == acls
    assert (one.container, path.file("result.tar")) in store.objects
