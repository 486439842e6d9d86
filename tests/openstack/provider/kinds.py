# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a service's module says of each resource and data source that it builds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from openstack.connection import Connection
from openstack.exceptions import ConflictException, SDKException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.values import Values

# the official provider waits up to ten minutes for what is still in use; here that is seconds
PATIENCE = 60.0


class ProviderError(Exception):
    """What cannot be done, in a sentence for terraform to show."""


@dataclass(frozen=True)
class Resource:
    """How one kind of resource is made and kept.

    ``create`` returns at least ``id``, and what nobody tells a second time (a secret). ``ready`` waits
    until it can be used: if it fails, terraform knows the resource and replaces it the next time.
    ``read`` tells what is there by ``id`` alone (an import has nothing else); it raises the SDK's
    NotFoundException if there is none. ``update`` gets the values before and after.
    """

    facts: Facts
    create: Callable[[Connection, Values], Values]
    read: Callable[[Connection, Values], Values]
    delete: Callable[[Connection, Values], None]
    update: Callable[[Connection, Values, Values], None] | None = None
    ready: Callable[[Connection, Values], None] | None = None


@dataclass(frozen=True)
class DataSource:
    """How one kind of data source is looked up. Raises ProviderError if there is not exactly one."""

    read: Callable[[Connection, Values], Values]


@dataclass(frozen=True)
class Service:
    """Everything of one service, by terraform's type names without ``openstack_``."""

    resources: Mapping[str, Resource]
    data_sources: Mapping[str, DataSource] = field(default_factory=dict)


def given(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    """What of ``values`` is given, under the SDK's names."""
    return {sdk: values[name] for name, sdk in names.items() if values.get(name) is not None}


def changed(before: Values, after: Values, names: Mapping[str, str]) -> dict[str, object]:
    """What differs, under the SDK's names; what is given no more is emptied."""
    return {
        sdk: "" if after.get(name) is None else after[name]
        for name, sdk in names.items()
        if before.get(name) != after.get(name)
    }


def when_free(call: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Call until nothing is in the way any more (409); for ``seconds`` at most."""
    end = time.monotonic() + seconds
    while True:
        try:
            call()
        except ConflictException:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for ``condition``. Raises ProviderError after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ProviderError(f"{what}: not after {seconds:g} s")
        time.sleep(0.3)


def only_one(found: list[Values], what: str) -> Values:
    """The one that was found."""
    if not found:
        raise ProviderError(f"{what}: your query returned no results; change the search criteria")
    if len(found) > 1:
        raise ProviderError(f"{what}: your query returned {len(found)} results; be more specific")
    return found[0]


EXPECTED_ERRORS = (SDKException, ProviderError)
