# SPDX-License-Identifier: AGPL-3.0-or-later
"""A store that is not there. tests/integration has the real one."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from testyard.adapters.swift import SwiftStore
from testyard.errors import StoreError
from testyard.settings import Store

ACTIONS: list[Callable[[SwiftStore], object]] = [
    lambda store: store.ensure_container("c", read_acl=".r:*"),
    lambda store: store.put("c", "n", b"x"),
    lambda store: store.put("c", "n", Path("/proc/self/cmdline")),
    lambda store: store.put("c", "n", Path("/no/such/file")),
    lambda store: store.create_container("c"),
    lambda store: store.read_acl("c"),
    lambda store: store.set_read_acl("c", ""),
    lambda store: store.get("c", "n"),
    lambda store: store.names("c"),
    lambda store: store.containers(),
    lambda store: store.delete("c", "n"),
]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "", "nonsense", "http://[::1"])
@pytest.mark.parametrize("version", ["1", "3"])
def test_nobody_there(version: str, address: str, action: Callable[[SwiftStore], object]) -> None:
    settings = Store.model_validate(
        {
            "auth_version": version,
            "auth_url": address,
            "user": "a:b",
            "key": SecretStr("s3cret"),
            "project": "p",
            "region": "r",
            "retries": 0,
        }
    )
    with SwiftStore(settings) as store, pytest.raises(StoreError, match=r"^store: cannot ") as caught:
        action(store)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
