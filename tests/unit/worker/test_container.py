# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which container a run goes to. tests/integration/test_keystone.py has real readers."""

from __future__ import annotations

import pytest

from tests.unit.worker.memory import MemoryStore
from testyard.errors import StoreError
from testyard.request import make_request
from worker.container import ContainerChoice

SHARED = "private-autopkgtest-noble"
ALICES, BOBS, NOBODYS = (
    f"{SHARED}.for-{hexes}" for hexes in ("2bd806c97f0e", "81b637d8fcd2", "e3b0c44298fc")
)


def choice(store: MemoryStore, **parameters: object) -> ContainerChoice:
    fields = {name.replace("_", "-"): value for name, value in parameters.items()}
    return ContainerChoice(store, make_request("demo", fields), "noble", settle=0)


def test_a_public_run() -> None:
    store = MemoryStore()
    assert choice(store, ppas=["me/one"]).choose() == "autopkgtest-noble-me-one"
    assert store.acls == {"autopkgtest-noble-me-one": ".r:*,.rlistings"}


def test_the_first_reader_has_the_shared_name_and_the_others_their_own() -> None:
    store = MemoryStore()
    for _ in range(2):
        assert choice(store, swiftuser="alice").choose() == SHARED
        assert choice(store, swiftuser="bob").choose() == BOBS
        assert choice(store, readable_by=["team"]).choose() == NOBODYS
    assert store.acls == {SHARED: "*:alice", BOBS: "*:bob", NOBODYS: ""}


def test_what_is_for_nobody_is_not_given_to_the_next_reader() -> None:
    store = MemoryStore()
    for _ in range(2):
        assert choice(store, readable_by=["team"]).choose() == SHARED
        assert choice(store, swiftuser="alice").choose() == ALICES
    assert store.acls == {SHARED: "", ALICES: "*:alice"}


@pytest.mark.parametrize("acl", [".r:*,.rlistings", "*:alice,*:bob", "*:alic", "project:alice"])
def test_any_other_access_list_is_not_ours(acl: str) -> None:
    store = MemoryStore()
    store.acls[SHARED] = acl
    assert choice(store, swiftuser="alice").choose() == ALICES
    assert store.acls == {SHARED: acl, ALICES: "*:alice"}


def test_an_own_container_that_others_may_read_is_not_used() -> None:
    store = MemoryStore()
    store.acls |= {SHARED: "*:bob", ALICES: ".r:*"}
    with pytest.raises(StoreError, match=f"container {ALICES} has another access list"):
        choice(store, swiftuser="alice").choose()


def test_a_maker_whose_store_fails_opens_it_at_its_next_attempt() -> None:
    class Failing(MemoryStore):
        def set_read_acl(self, container: str, acl: str) -> None:
            if not self.written:
                self.written.append("failed")
                raise StoreError("store: away")
            super().set_read_acl(container, acl)

    store = Failing()
    one = choice(store, swiftuser="alice")
    with pytest.raises(StoreError):
        one.choose()
    assert choice(store, swiftuser="bob").choose() == BOBS
    assert one.choose() == SHARED
    assert store.acls == {SHARED: "*:alice", BOBS: "*:bob"}
