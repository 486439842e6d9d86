# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ports: chosen, free, and an error that says who is in the way."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from testyard.errors import SettingsError
from testyard.local.ports import (
    check_ports_differ,
    check_ports_free,
    free_ports,
    parse_port_choice,
    port_warnings,
)
from testyard.local.state import LocalState


def test_a_choice_is_parsed() -> None:
    assert parse_port_choice("web=8443") == ("web", 8443)


@pytest.mark.parametrize(
    "text", ["web", "web=", "web=x", "web=0", "web=65536", "web=-1", "nobody=80", "", "web=²"]
)
def test_a_wrong_choice_is_named(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_port_choice(text)
    assert f"--port {text}" in caught.value.brief
    assert caught.value.resolution


def test_free_ports_differ_and_avoid() -> None:
    first = free_ports(20)
    assert len({*first, *free_ports(20, avoid=first)}) == 40


def test_two_parts_with_one_port_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="store and web both have port 8000"):
        check_ports_differ({"store": 8000, "web": 8000})
    with pytest.raises(SettingsError, match="both have port 8000"):
        LocalState.load_or_create(tmp_path / "state", ports={"web": 8000, "index": 8000})


def test_a_taken_port_names_part_port_holder_and_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            check_ports_free({"web": port})
    assert "web" in caught.value.brief
    assert str(port) in caught.value.brief
    assert str(os.getpid()) in caught.value.details
    assert "--port web=N" in caught.value.resolution
    check_ports_free({"web": port})


def test_a_listener_on_every_address_counts() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server, pytest.raises(SettingsError):
        check_ports_free({"web": server.getsockname()[1]})


def test_ports_that_work_for_few_are_told() -> None:
    (sip,) = port_warnings({"web": 6000, "store": 6000, "index": 8080})
    assert sip == "web: browsers refuse to open port 6000; choose another for the site."
