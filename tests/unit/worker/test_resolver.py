# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which name server a testbed asks, by what this machine asks itself."""

from __future__ import annotations

import pytest

from worker.testbed.resolver import Resolver, choose

OWN = ("192.0.2.2", "2001:db8::2")
STUB = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n"
UPLINK = "# made by systemd-resolved\nnameserver 192.0.2.53\nsearch example.org\n"
V4, V6 = "169.254.53.53", "2001:db8:53::53"


def forwarded(address: str, rest: str = "") -> Resolver:
    return Resolver(f"nameserver {address}\n{rest}", address)


@pytest.mark.parametrize(
    ("resolv_conf", "uplinks", "expected"),
    [
        ("nameserver 192.0.2.53\nsearch a\n", "", Resolver("nameserver 192.0.2.53\nsearch a\n")),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.53\n", "", Resolver("nameserver 192.0.2.53\n")),
        (STUB, UPLINK, Resolver(UPLINK)),
        (STUB, "", forwarded(V4, "options edns0 trust-ad\nsearch example.org\n")),
        (STUB, "nameserver 127.0.0.1\n", forwarded(V4, "options edns0 trust-ad\nsearch example.org\n")),
        # a dnsmasq that systemd-resolved has nothing to do with
        ("nameserver 127.0.0.1\n", UPLINK, forwarded(V4)),
        ("nameserver 192.0.2.2\n", "", forwarded(V4)),
        ("nameserver ::1\nnameserver 127.0.0.1\n", "", forwarded(V4)),
        ("nameserver ::1\n", "", forwarded(V6)),
        ("nameserver 2001:db8::2\n", "", forwarded(V6)),
        ("nameserver fe80::1%eth0\n", "", Resolver("nameserver fe80::1%eth0\n")),
    ],
    ids=[
        "elsewhere", "one of two", "systemd-resolved", "systemd-resolved without its list",
        "systemd-resolved with a local list", "dnsmasq", "own address", "both kinds", "IPv6", "own IPv6",
        "link-local",
    ],
)  # fmt: skip
def test_choice(resolv_conf: str, uplinks: str, expected: Resolver) -> None:
    assert choose(resolv_conf, uplinks, OWN) == expected


@pytest.mark.parametrize("text", ["", "search example.org\n", "nameserver\n", "# nameserver 192.0.2.53\n"])
def test_no_name_server_is_a_problem_that_is_told(text: str) -> None:
    found = choose(text, "", OWN)
    assert found.problem == "this machine's /etc/resolv.conf names no name server"
    assert found.forward == ""
