# SPDX-License-Identifier: AGPL-3.0-or-later
"""The adapter with a real Swift, and what anonymous readers get."""

from __future__ import annotations

import gzip
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.cutting import cutting
from tests.servers import Swift, swift_server
from testyard.adapters.swift import SwiftStore
from testyard.adapters.swift_login import Login
from testyard.errors import StoreError
from testyard.run import RunId
from testyard.settings import Store
from testyard.store import LOG, PUBLIC_READ, RESULT, RunPath

CONTAINER = "autopkgtest-noble"
RUNS = [
    RunPath("noble", "amd64", source, RunId(f"20260105_10{number // 60:02}{number % 60:02}_0a1b2@"))
    for source in ("demo", "libdemo")
    for number in range(200)
]


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with swift_server(tmp_path_factory.mktemp("swift") / "state") as found:
        yield found


def settings_of(swift: Swift, *, port: int | None = None, retries: int = 5) -> Store:
    url = f"http://127.0.0.1:{port}/auth/v1.0" if port else swift.auth_url
    return Store(auth_version="1", auth_url=url, user=swift.user, key=SecretStr(swift.key), retries=retries)


@pytest.fixture
def store(swift: Swift) -> Iterator[SwiftStore]:
    with SwiftStore(settings_of(swift)) as found:
        yield found


@pytest.fixture(scope="module")
def public(swift: Swift) -> str:
    """The address of a public container with 200 runs of two packages each."""
    with SwiftStore(settings_of(swift)) as store:
        store.ensure_container(CONTAINER, read_acl=PUBLIC_READ)
        for path in RUNS:
            store.put(CONTAINER, path.file(RESULT), b"tar")
        log = gzip.compress(b"a line\n")
        store.put(
            CONTAINER,
            RUNS[0].file(LOG),
            log,
            content_type="text/plain; charset=UTF-8",
            content_encoding="gzip",
        )
    return f"{swift.public_url}/{CONTAINER}"


# --- the port's promises ----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", b"\0\xff" * 100_000], ids=len)
def test_put_and_get(store: SwiftStore, tmp_path: Path, content: bytes) -> None:
    store.ensure_container("objects")
    store.put("objects", "bytes", content)
    file = tmp_path / "file"
    file.write_bytes(content)
    store.put("objects", "from a file/with @ and %2F ä", file)
    assert store.get("objects", "bytes") == content
    assert store.get("objects", "from a file/with @ and %2F ä") == content
    store.put("objects", "bytes", b"other")
    assert store.get("objects", "bytes") == b"other"


def test_what_is_not_there(store: SwiftStore) -> None:
    store.ensure_container("objects")
    assert store.get("objects", "nosuch") is None
    assert store.get("nosuch", "nosuch") is None
    assert store.names("nosuch") == ()
    store.delete("objects", "nosuch")
    store.delete("nosuch", "nosuch")


def test_delete(store: SwiftStore) -> None:
    store.ensure_container("objects")
    store.put("objects", "gone", b"x")
    store.delete("objects", "gone")
    assert store.get("objects", "gone") is None


def test_no_object_without_a_container(store: SwiftStore) -> None:
    with pytest.raises(StoreError, match="cannot write nosuch/x: 404"):
        store.put("nosuch", "x", b"x")


@pytest.mark.usefixtures("public")
def test_names(store: SwiftStore) -> None:
    runs = [str(path) for path in RUNS[:200]]
    parent = RUNS[0].parent
    assert list(store.names(CONTAINER, prefix=parent, delimiter="@")) == runs
    assert list(store.names(CONTAINER, prefix=parent, delimiter="@", marker=runs[149])) == runs[150:]
    assert list(store.names(CONTAINER, prefix=parent, delimiter="@", marker=runs[-1])) == []
    everything = store.names(CONTAINER)
    assert len(everything) == len(RUNS) + 1
    assert list(everything) == sorted(everything)
    assert store.names(CONTAINER, prefix="noble/", delimiter="/") == ("noble/amd64/",)


def test_containers(store: SwiftStore) -> None:
    for name in ("list-b", "list-a", "other"):
        store.ensure_container(name)
        store.ensure_container(name)
    assert store.containers(prefix="list-") == ("list-a", "list-b")
    assert {"list-a", "other"} <= set(store.containers())


def test_one_of_many_makes_a_container_and_none_changes_its_readers(swift: Swift, store: SwiftStore) -> None:
    barrier = threading.Barrier(12)

    def make(_: int) -> bool:
        with SwiftStore(settings_of(swift)) as own:
            own.containers()  # it has logged in
            barrier.wait()
            return own.create_container("made")

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(make, range(12))) == [False] * 11 + [True]
    assert store.read_acl("made") == ""
    store.set_read_acl("made", "*:alice")
    assert not store.create_container("made")
    store.ensure_container("made", read_acl="*:bob")
    assert store.read_acl("made") == "*:alice"
    store.set_read_acl("made", "")
    assert store.read_acl("made") == ""
    with pytest.raises(StoreError, match="cannot look at container nosuch: 404"):
        store.read_acl("nosuch")
    with pytest.raises(StoreError, match="cannot change container nosuch: 404"):
        store.set_read_acl("nosuch", "")


def test_an_object_may_expire(swift: Swift, store: SwiftStore) -> None:
    store.ensure_container("expiring", read_acl=PUBLIC_READ)
    store.put("expiring", "x", b"x", expire_after=3600)
    first = int(httpx.head(f"{swift.public_url}/expiring/x").headers["X-Delete-At"])
    assert 3500 < first - time.time() < 3700 + 86400
    assert first % 86400 == 0


# --- anonymous readers ------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_listing_has_a_line_a_run(public: str, slash: str) -> None:
    answer = httpx.get(public + slash, params={"delimiter": "@", "prefix": RUNS[0].parent})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert lines == [str(path) for path in RUNS[:200]]
    assert all(line.endswith("@") for line in lines)


def test_a_listing_after_a_marker(public: str) -> None:
    query = {"delimiter": "@", "prefix": RUNS[200].parent, "marker": str(RUNS[397])}
    assert httpx.get(public, params=query).text.splitlines() == [str(RUNS[398]), str(RUNS[399])]
    assert httpx.get(public, params={**query, "limit": 1}).text.splitlines() == [str(RUNS[398])]
    answer = httpx.get(public, params={**query, "marker": str(RUNS[399])})
    assert (answer.status_code, answer.content) == (204, b"")


def test_no_match_is_204(public: str) -> None:
    answer = httpx.get(public, params={"prefix": "jammy/"})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_listing_as_json(public: str) -> None:
    query = {"format": "json", "prefix": RUNS[0].parent, "limit": 2}
    assert httpx.get(public, params={**query, "delimiter": "@"}).json() == [
        {"subdir": str(RUNS[0])},
        {"subdir": str(RUNS[1])},
    ]
    first = httpx.get(public, params=query).json()[0]
    assert set(first) == {"name", "bytes", "hash", "content_type", "last_modified"}
    accepted = httpx.get(public, params={"limit": 2}, headers={"Accept": "application/json"})
    assert len(accepted.json()) == 2


def test_other_parameters_of_a_listing(public: str) -> None:
    query = {"delimiter": "@", "prefix": RUNS[0].parent}
    runs = [str(path) for path in RUNS[:200]]

    def lines(**more: str | int) -> list[str]:
        return httpx.get(public, params={**query, **more}).text.splitlines()

    assert lines(reverse="1") == runs[::-1]
    assert lines(reverse="true", limit=2) == [runs[199], runs[198]]
    assert lines(reverse="1", marker=runs[2]) == [runs[1], runs[0]]
    assert lines(reverse="1", end_marker=runs[197]) == [runs[199], runs[198]]
    assert lines(end_marker=runs[3]) == runs[:3]
    assert lines(marker=runs[0], end_marker=runs[3]) == runs[1:3]
    assert lines(limit=3) == runs[:3]
    assert lines(limit=3, marker=runs[2]) == runs[3:6]
    assert lines(limit=0) == []
    assert httpx.get(public, params={"limit": 10_001}).status_code == 412
    assert httpx.get(public, params={"path": f"{RUNS[0]}"}).text.splitlines() == [
        RUNS[0].file(LOG),
        RUNS[0].file(RESULT),
    ]


def test_head_counts(public: str) -> None:
    answer = httpx.head(public)
    assert answer.status_code == 204
    assert int(answer.headers["X-Container-Object-Count"]) == len(RUNS) + 1
    assert int(answer.headers["X-Container-Bytes-Used"]) > 3 * len(RUNS)


def test_objects_are_public(public: str) -> None:
    answer = httpx.get(f"{public}/{RUNS[0].file(RESULT)}")
    assert (answer.content, answer.headers["Content-Type"]) == (b"tar", "application/x-tar")
    log = httpx.get(f"{public}/{RUNS[0].file(LOG)}")
    assert (log.text, log.headers["Content-Encoding"]) == ("a line\n", "gzip")
    assert log.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert httpx.get(f"{public}/nosuch").status_code == 404


def test_strangers_see_and_change_nothing_else(swift: Swift, public: str, store: SwiftStore) -> None:
    store.ensure_container("private-autopkgtest-noble")
    store.put("private-autopkgtest-noble", "x", b"x")
    for path in ("nosuch", "nosuch/x", "private-autopkgtest-noble", "private-autopkgtest-noble/x", ""):
        assert httpx.get(f"{swift.public_url}/{path}").status_code == 401, path
    assert httpx.put(f"{public}/x", content=b"x").status_code == 401
    assert httpx.delete(f"{public}/{RUNS[0].file(RESULT)}").status_code == 401


# --- failures ---------------------------------------------------------------------------------------


def random_file(folder: Path) -> Path:
    path = folder / "large"
    path.write_bytes(os.urandom(4 * 1024 * 1024))
    return path


@pytest.mark.parametrize("as_bytes", [False, True], ids=["file", "bytes"])
def test_what_was_sent_in_part_is_sent_again_from_its_start(
    swift: Swift, store: SwiftStore, tmp_path: Path, as_bytes: bool
) -> None:
    store.ensure_container("retries")
    path = random_file(tmp_path)
    with cutting(swift.state.ports["store"], after=1024 * 1024) as proxy:
        with SwiftStore(settings_of(swift, port=proxy.port)) as own:
            own.put("retries", "x", path.read_bytes() if as_bytes else path)
        assert proxy.cut == 1
    assert store.get("retries", "x") == path.read_bytes()


def test_what_was_read_in_part_is_no_content(swift: Swift, store: SwiftStore, tmp_path: Path) -> None:
    store.ensure_container("retries")
    path = random_file(tmp_path)
    store.put("retries", "y", path)
    with cutting(swift.state.ports["store"], after=1024 * 1024, answers=True) as proxy:
        with SwiftStore(settings_of(swift, port=proxy.port)) as own:
            assert own.get("retries", "y") == path.read_bytes()
        assert proxy.cut == 1


@pytest.mark.parametrize("as_bytes", [False, True], ids=["file", "bytes"])
def test_a_server_that_comes_back_is_waited_for(
    swift: Swift, store: SwiftStore, tmp_path: Path, as_bytes: bool
) -> None:
    store.ensure_container("retries")
    path = random_file(tmp_path)
    failures: list[BaseException] = []

    def put() -> None:
        try:
            store.put("retries", "z", path.read_bytes() if as_bytes else path)
        except BaseException as error:
            failures.append(error)

    swift.kill()
    thread = threading.Thread(target=put)
    try:
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
    finally:
        swift.start()
    thread.join(30)
    assert failures == []
    assert store.get("retries", "z") == path.read_bytes()


ACTIONS: list[Callable[[SwiftStore], object]] = [
    lambda store: store.ensure_container("seldom"),
    lambda store: store.put("retries", "x", b"x"),
    lambda store: store.create_container("retries"),
    lambda store: store.read_acl("retries"),
    lambda store: store.set_read_acl("retries", ""),
    lambda store: store.get("retries", "x"),
    lambda store: store.names("retries"),
    lambda store: store.containers(),
    lambda store: store.delete("retries", "x"),
]


def test_a_server_that_stays_away_is_a_store_error_without_secrets(swift: Swift) -> None:
    with SwiftStore(settings_of(swift, retries=0)) as store:
        store.ensure_container("retries")  # it has a token now
        swift.kill()
        try:
            for action in ACTIONS:
                with pytest.raises(StoreError, match=r"^store: cannot ") as caught:
                    action(store)
                assert swift.key not in "".join(traceback.format_exception(caught.value))
        finally:
            swift.start()
        for action in ACTIONS:
            action(store)


def test_a_container_that_somebody_removed_is_made_again(store: SwiftStore, swift: Swift) -> None:
    store.ensure_container("removed", read_acl=PUBLIC_READ)
    Login(settings_of(swift)).connection().delete_container("removed")
    store.put("removed", "x", b"again")
    assert (store.get("removed", "x"), store.read_acl("removed")) == (b"again", PUBLIC_READ)
    with pytest.raises(StoreError, match="404"):  # nobody has said who may read this one
        store.put("never-made", "x", b"x")


def test_any_thread_may_use_it(store: SwiftStore) -> None:
    store.ensure_container("threads")

    def use(number: int) -> bytes | None:
        store.put("threads", str(number), str(number).encode())
        return store.get("threads", str(number))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(80))) == [str(number).encode() for number in range(80)]


def test_a_wrong_key_is_a_store_error_without_it(swift: Swift) -> None:
    settings = settings_of(swift).model_copy(update={"key": SecretStr("wr0ng")})
    with SwiftStore(settings) as store, pytest.raises(StoreError, match="401") as caught:
        store.containers()
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))
