# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store on a real Swift behind a real Keystone."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from pydantic import SecretStr

from tests.keystone import REGION, Cloud, openstack
from testyard.adapters.swift import SwiftStore
from testyard.errors import StoreError
from testyard.request import make_request
from testyard.settings import Store
from testyard.store import PUBLIC_READ, read_acl
from worker.container import ContainerChoice

CONTAINER = "autopkgtest-noble"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with openstack(tmp_path_factory.mktemp("openstack")) as found:
        yield found


@pytest.fixture(scope="module")
def by_password(cloud: Cloud) -> Store:
    key = cloud.keystone.add_user("worker", project="testyard")
    return Store(
        auth_url=cloud.keystone.url, user="worker", key=SecretStr(key), project="testyard", retries=1
    )


@pytest.fixture(scope="module")
def by_application(cloud: Cloud, by_password: Store) -> Store:
    name, secret = cloud.keystone.add_application_credential(
        "worker", by_password.key.get_secret_value(), project="testyard"
    )
    return Store(auth_url=cloud.keystone.url, application_credential=name, key=SecretStr(secret), retries=1)


@pytest.fixture(params=["by_password", "by_application"])
def settings(request: pytest.FixtureRequest) -> Store:
    """Each way to log in."""
    found: Store = request.getfixturevalue(request.param)
    return found


def test_a_public_container(cloud: Cloud, settings: Store) -> None:
    with SwiftStore(settings) as store:
        store.ensure_container(CONTAINER, read_acl=PUBLIC_READ)
        store.ensure_container(CONTAINER, read_acl=PUBLIC_READ)
        for name in ("a@/x", "a@/y", "b@/x"):
            store.put(CONTAINER, name, name.encode())
        assert store.get(CONTAINER, "a@/y") == b"a@/y"
        assert store.get(CONTAINER, "nosuch") is None
        assert store.names(CONTAINER, delimiter="@") == ("a@", "b@")
        assert store.containers(prefix="autopkgtest-") == (CONTAINER,)
        store.delete(CONTAINER, "b@/x")
        assert store.names(CONTAINER) == ("a@/x", "a@/y")
    assert httpx.get(f"{cloud.public_url}/{CONTAINER}/a@/x", trust_env=False).content == b"a@/x"
    listing = httpx.get(f"{cloud.public_url}/{CONTAINER}?delimiter=@", trust_env=False)
    assert (listing.status_code, listing.text) == (200, "a@\n")
    assert httpx.put(f"{cloud.public_url}/{CONTAINER}/z", content=b"", trust_env=False).status_code == 401
    assert httpx.get(f"{cloud.public_url}/nosuch", trust_env=False).status_code == 401


@pytest.mark.parametrize("region", [REGION, ""])
@pytest.mark.parametrize("slash", ["", "/"])
def test_addresses_and_regions(by_password: Store, region: str, slash: str) -> None:
    bare = by_password.auth_url.removesuffix("/v3")
    for url in (f"{bare}{slash}", f"{by_password.auth_url}{slash}"):
        with SwiftStore(by_password.model_copy(update={"auth_url": url, "region": region})) as store:
            store.containers()


def test_a_revoked_token_is_followed_by_a_new_login(cloud: Cloud, by_password: Store) -> None:
    content = b"x" * 100_000
    with SwiftStore(by_password) as store:
        store.ensure_container("revoked")
        cloud.keystone.set_enabled("worker", False)
        cloud.keystone.set_enabled("worker", True)
        store.put("revoked", "first", content)  # sent, refused, sent again from its start
        assert store.get("revoked", "first") == content
        cloud.keystone.set_enabled("worker", False)
        try:
            with pytest.raises(StoreError, match="cannot write revoked/second: Keystone refuses the login"):
                store.put("revoked", "second", content)
        finally:
            cloud.keystone.set_enabled("worker", True)
        store.put("revoked", "second", content)
        assert store.names("revoked") == ("first", "second")


def test_a_wrong_key_is_told_without_it(settings: Store) -> None:
    wrong = settings.model_copy(update={"key": SecretStr("wr0ng")})
    told = "cannot list the account: Keystone refuses the login"
    with SwiftStore(wrong) as store, pytest.raises(StoreError, match=told) as caught:
        store.containers()
    assert "store.key" in caught.value.resolution
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("user", "nobody", "Keystone refuses the login"),
        ("project", "nosuch", "Keystone refuses the login"),
        ("user_domain", "nosuch", "Keystone refuses the login"),
        ("region", "nosuch", "Keystone names no object store for this project"),
    ],
)
def test_a_wrong_setting_is_told(by_password: Store, key: str, value: str, message: str) -> None:
    wrong = by_password.model_copy(update={key: value})
    with SwiftStore(wrong) as store, pytest.raises(StoreError, match=message) as caught:
        store.names(CONTAINER)
    assert f"store.{key}" in caught.value.resolution or "the domains" in caught.value.resolution


def test_a_project_of_which_the_user_is_no_member(cloud: Cloud) -> None:
    """Keystone lets a reader in, and Swift lets none of them make a container."""
    key = cloud.keystone.add_user("onlooker", project="testyard", role="reader")
    settings = Store(auth_url=cloud.keystone.url, user="onlooker", key=SecretStr(key), project="testyard")
    with SwiftStore(settings) as store, pytest.raises(StoreError, match="cannot create container mine: 403"):
        store.ensure_container("mine", read_acl=PUBLIC_READ)


def test_a_keystone_that_comes_back_is_waited_for(cloud: Cloud, by_application: Store) -> None:
    cloud.keystone.kill()
    thread = threading.Timer(0.5, cloud.keystone.start)
    thread.start()
    try:
        with SwiftStore(by_application.model_copy(update={"retries": 6})) as store:
            store.containers()
    finally:
        thread.join()


def read(cloud: Cloud, token: str, path: str) -> int:
    url = f"{cloud.public_url}/{path}"
    return httpx.get(url, headers={"X-Auth-Token": token}, trust_env=False).status_code


def test_each_reader_reads_the_own_runs_only(cloud: Cloud, by_password: Store) -> None:
    names = ("alice", "bob")
    tokens = {
        name: cloud.keystone.login(name, cloud.keystone.add_user(name, project=name), project=name)
        for name in names
    }
    containers = {}
    with SwiftStore(by_password) as store:
        for name in names:
            request = make_request("demo", {"swiftuser": name})
            containers[name] = ContainerChoice(store, request, "noble").choose()
            store.put(containers[name], "run/log.gz", b"secret")
    assert containers["alice"] == "private-autopkgtest-noble"
    assert containers["bob"] == "private-autopkgtest-noble.for-81b637d8fcd2"
    for reader in names:
        for owner in names:
            for path in (containers[owner], f"{containers[owner]}/run/log.gz"):
                assert read(cloud, tokens[reader], path) == (200 if reader == owner else 403), (reader, path)
    for container in containers.values():
        assert httpx.get(f"{cloud.public_url}/{container}/run/log.gz", trust_env=False).status_code == 401


def test_readers_who_come_at_the_same_moment(cloud: Cloud, by_password: Store) -> None:
    """Twelve workers, three readers, one container that is not there yet."""
    readers = ("carol", "dave", None)
    barrier = threading.Barrier(12)

    def choose(number: int) -> tuple[str, str]:
        fields = {"swiftuser": reader} if (reader := readers[number % 3]) else {"readable-by": ["team"]}
        with SwiftStore(by_password) as store:
            store.containers()  # it has logged in
            barrier.wait()
            chosen = ContainerChoice(store, make_request("demo", fields), "jammy").choose()
            return read_acl(reader or ""), chosen

    with ThreadPoolExecutor(12) as pool:
        chosen = list(pool.map(choose, range(12)))
    assert len({container for _, container in chosen}) == 3, chosen
    with SwiftStore(by_password) as store:
        for acl, container in chosen:
            assert store.read_acl(container) == acl, chosen


def test_a_reader_who_comes_while_the_container_is_made(by_password: Store) -> None:
    chosen: list[str] = []

    class Slow(SwiftStore):
        def create_container(self, container: str) -> bool:
            made = super().create_container(container)
            with SwiftStore(by_password) as other:
                chosen.append(
                    ContainerChoice(other, make_request("demo", {"swiftuser": "bob"}), "sid").choose()
                )
            return made

    with Slow(by_password) as store:
        chosen.append(ContainerChoice(store, make_request("demo", {"swiftuser": "alice"}), "sid").choose())
        assert chosen == ["private-autopkgtest-sid.for-81b637d8fcd2", "private-autopkgtest-sid"]
        assert [store.read_acl(container) for container in chosen] == ["*:bob", "*:alice"]
