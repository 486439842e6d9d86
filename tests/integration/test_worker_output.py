# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real worker process on a real broker and store: what it stores, and what others hear of it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import uuid
from collections.abc import Mapping
from dataclasses import replace

import httpx

from tests import servers
from tests.integration.yard import CONTAINER, PACKAGES, Yard, body_of, dead_process
from testyard.request import make_request
from testyard.store import CLAIMS, RunPath, reader_container
from worker.claim import Claim, ClaimBook, ClaimState


def test_messages_have_the_contracts_keys(yard: Yard) -> None:
    request_id = str(uuid.uuid4())
    parameters = {
        "triggers": ["gzip/1.12-1", "zlib/1"],
        "requester": "someone",
        "all-proposed": "1",
        "testname": "artifact",
        "uuid": request_id,
        "extra": {"kept": [1]},
    }
    yard.publish(make_request("ty-pass", parameters).body())
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    (message,) = yard.completions()
    duration, swift_dir = message.pop("duration"), message.pop("swift_dir")
    assert message == {
        "release": "sample",
        "architecture": yard.architecture,
        "package": "ty-pass",
        "container": CONTAINER,
        "exitcode": 0,
        "testpkg_version": "1.0",
        "requester": "someone",
        "triggers": "gzip/1.12-1 zlib/1",
        "env": "all-proposed=1,testname=artifact",
        "uuid": request_id,
    }
    assert duration.endswith("\n")
    assert int(duration) >= 0
    assert len(swift_dir.split("/")) == 5
    assert yard.store.get(CONTAINER, f"{swift_dir}/result.tar")
    statuses = [json.loads(body) for body in yard.heard("teststatus.fanout")]
    assert [one["running"] for one in statuses] == [False]  # a short run's only one
    status = statuses[0]
    assert set(status) == {
        "release", "architecture", "package", "running", "params", "duration", "logtail", "uuid",
    }  # fmt: skip
    assert (status["release"], status["architecture"]) == ("sample", yard.architecture)
    assert (status["package"], status["params"]) == ("ty-pass", parameters)
    assert type(status["duration"]) is int
    head, _, tail = status["logtail"].partition("HEAD --- TAIL")
    assert head.startswith("testyard [")
    assert len(head.splitlines()) == 6  # five lines of the log, and the separator's beginning
    assert "summary" in tail
    kinds = [json.loads(body)["kind"] for body in yard.heard("testyard.events")]
    assert (kinds[0], kinds[-1]) == ("taken", "stored")


def test_private_request_tells_nobody_and_is_for_its_readers(
    private_yard: Yard, store_node: servers.Swift
) -> None:
    yard = private_yard
    container = f"private-autopkgtest-{yard.queue.release}"
    body = body_of(
        "ty-pass",
        swiftuser="reader",
        readable_by=["alice", "team"],
        triggers=["secret-source/6.6.6"],
        requester="asker",
        uuid=str(uuid.uuid4()),
    )
    yard.publish(body)
    worker = yard.worker()
    yard.wait(lambda: len(yard.events("stored")) == 1, "it is stored")
    yard.drain(worker)
    (result,) = yard.results(container)
    assert (result.exit_code, result.triggers) == (0, ("secret-source/6.6.6",))
    folder = str(RunPath.parse(yard.objects(container)[0].rpartition("/")[0]))
    assert yard.store.get(container, f"{folder}/readable-by") == b"alice\nteam\n"
    assert yard.objects() == []
    assert yard.completions() == []
    told = yard.heard("testyard.events") + yard.heard("teststatus.fanout")
    assert yard.heard("teststatus.fanout")
    words = (b"ty-pass", b"secret-source", b"6.6.6", b"asker", b"alice", b"team", b"artifact", b"reader")
    for message in told:
        assert [word for word in (*words, b"autopkgtest") if word in message] == [], message
    headers = _headers(store_node, container)
    assert headers["x-container-read"] == "*:reader"
    assert httpx.get(f"{store_node.public_url}/{container}", trust_env=False).status_code == 401
    claims = httpx.get(f"{store_node.public_url}/{CLAIMS}", trust_env=False)
    assert claims.status_code == 401


def _headers(swift: servers.Swift, container: str) -> Mapping[str, str]:
    login = httpx.get(
        swift.auth_url, headers={"X-Auth-User": swift.user, "X-Auth-Key": swift.key}, trust_env=False
    )
    token = {"X-Auth-Token": login.headers["X-Auth-Token"]}
    return httpx.head(f"{swift.public_url}/{container}", headers=token, trust_env=False).headers


def test_a_second_readers_run_has_its_own_container_also_after_a_crash(private_yard: Yard) -> None:
    yard = private_yard
    shared = f"private-autopkgtest-{yard.queue.release}"
    own = reader_container(shared, "second")
    request_id = str(uuid.uuid4())
    body = body_of("ty-pass", swiftuser="second", uuid=request_id)
    key = f"{yard.queue}/id/{request_id}"
    book = ClaimBook(yard.store, "worker-2", 60)

    def work(bodies: list[bytes], stored: int) -> Claim:
        """Have them worked on, until so many results were told of since the beginning; the claim then."""
        for one in bodies:
            yard.redeliver(one)
        worker = yard.worker()
        yard.wait(lambda: len(yard.events("stored")) == stored, "all are stored")
        yard.drain(worker)
        claim = book.read(key)
        assert claim is not None
        assert claim.container == own
        return claim

    def crash(claim: Claim) -> None:
        left = replace(claim, state=ClaimState.STORING, process=dead_process())
        yard.store.put(CLAIMS, key, left.to_bytes())

    claim = work([body_of("ty-pass", swiftuser="reader"), body], 2)
    assert (len(yard.results(shared)), len(yard.results(own))) == (1, 1)
    assert (yard.store.read_acl(shared), yard.store.read_acl(own)) == ("*:reader", "*:second")
    crash(claim)  # after result.tar, before anyone was told
    assert work([body], 3).path == claim.path
    assert len(yard.events("taken")) == 2
    crash(claim)  # before result.tar
    yard.store.delete(own, f"{claim.path}/result.tar")
    again = work([body], 4)
    assert again.path != claim.path
    assert {name.rpartition("/")[0] for name in yard.objects(own)} == {again.path}
    assert (len(yard.results(shared)), len(yard.results(own))) == (1, 1)


def test_hostile_output_is_a_result_like_any_other(yard: Yard) -> None:
    """A name that is no text, once noted in the log, sent a request round for ever."""
    made = yard.folder / "packages" / "ty-hostile"
    (made / "debian" / "tests").mkdir(parents=True)
    for name in ("control", "changelog", "rules"):
        text = (PACKAGES / "ty-pass" / "debian" / name).read_text().replace("ty-pass", "ty-hostile")
        (made / "debian" / name).write_text(text)
    (made / "debian" / "rules").chmod(0o755)
    script = (
        'cd "$AUTOPKGTEST_ARTIFACTS" && mkfifo "$(printf "pipe\\377")" && mkdir deep && ln -s / deep/root'
    )
    (made / "debian" / "tests" / "control").write_text(
        f"Test-Command: {script}\nFeatures: test-name=hostile\nDepends:\n"
    )
    yard.settings["worker"]["source_dir"] = str(yard.folder / "packages")
    yard.publish(body_of("ty-hostile"))
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    assert [one.exit_code for one in yard.results()] == [0], yard.log
    (name,) = [name for name in yard.objects() if name.endswith("artifacts.tar.gz")]
    data = yard.store.get(CONTAINER, name) or b""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = {info.name: info for info in tar}
    (link,) = [info for entry, info in entries.items() if entry.endswith("deep/root")]
    assert (link.issym(), link.linkname) == (True, "/")
    assert not [entry for entry in entries if "deep/root/" in entry or "pipe" in entry]
    (name,) = [name for name in yard.objects() if name.endswith("log.gz")]
    log = gzip.decompress(yard.store.get(CONTAINER, name) or b"")
    assert b"not among the artifacts: artifacts/pipe\\udcff: neither" in log
