# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who has which address in a region's subnet.

What others must find has an address that is known before anything is made: so no stack reads
another's state for it, and an instance that is made anew is found where the old one was. All others
(LXD hosts, workers, testbeds) get theirs from the subnet's pool.

    1          the router
    10 to 12   broker
    13         database
    14         balancer
    20 to 39   functions
    40 to 59   site
    64 …       the pool
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

_BROKER, _DATABASE, _BALANCER, _FUNCTIONS, _WEB, _POOL = 10, 13, 14, 20, 40, 64
#: The pool needs room: a smaller subnet has none.
LONGEST_PREFIX = 25


def broker(subnet: IPv4Network, nodes: int) -> tuple[IPv4Address, ...]:
    """The broker's instances."""
    return tuple(subnet[_BROKER + index] for index in range(nodes))


def database(subnet: IPv4Network) -> IPv4Address:
    """The database's instance."""
    return subnet[_DATABASE]


def balancer(subnet: IPv4Network) -> IPv4Address:
    """What is before site and functions."""
    return subnet[_BALANCER]


def functions(subnet: IPv4Network, count: int) -> tuple[IPv4Address, ...]:
    """The functions' instances."""
    return tuple(subnet[_FUNCTIONS + index] for index in range(count))


def web(subnet: IPv4Network, count: int) -> tuple[IPv4Address, ...]:
    """The site's instances."""
    return tuple(subnet[_WEB + index] for index in range(count))


def pool(subnet: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    """First and last of what the cloud hands out."""
    return subnet[_POOL], subnet[-2]


def pool_size(subnet: IPv4Network) -> int:
    """How many that are."""
    return max(0, subnet.num_addresses - _POOL - 1)
