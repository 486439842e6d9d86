# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of LXD hosts that cannot work are refused by their key's name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from testyard.hosts import LxdHost


@pytest.mark.parametrize(
    "address", ["local", "unix:/run/lxd.socket", "https://host-1:8443", "https://[::1]:8443"]
)
def test_addresses(address: str) -> None:
    assert LxdHost(name="h", address=address).address == address


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "http://host:8443"),
        ("address", "https://host"),
        ("address", "https://user@host:8443"),
        ("address", "unix:"),
        ("fingerprint", "abc"),
        ("image", "{suite}"),
        ("image", "--vm"),
        ("vm_image", "{release}/{"),
        ("pool", "-p"),
        ("subnet", "10.0.0.1"),
        ("cpus", 0),
    ],
)
def test_what_cannot_work_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        LxdHost.model_validate({"name": "h", key: value})
    assert [error["loc"] for error in caught.value.errors()] == [(key,)]


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(ValidationError, match="go together"):
        LxdHost.model_validate({"name": "h", "certificate": "/etc/crt"})
