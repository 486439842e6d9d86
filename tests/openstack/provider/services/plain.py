# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networking resources that the SDK makes, changes and deletes all in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import Resource, changed, given, when_free
from tests.openstack.provider.values import Values


@dataclass(frozen=True)
class Networking:
    """A kind of resource of Neutron's, which the SDK calls ``noun``.

    ``fields``: the SDK's name of each attribute. ``extra``: what else is sent; ``observe``: what else is
    read. ``tagged``: it has ``tags`` and ``all_tags``.
    """

    noun: str
    fields: Mapping[str, str]
    tagged: bool = True
    extra: Callable[[Values], dict[str, Any]] = lambda values: {}
    observe: Callable[[Connection, Any], Values] = lambda connection, found: {}

    def resource(self, facts: Facts) -> Resource:
        """The resource, of which ``facts`` are known."""
        return Resource(facts, self.create, self.read, self.delete, self.update, self.ready)

    def _call(self, connection: Connection, verb: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(connection.network, f"{verb}_{self.noun}")
        return method

    def create(self, connection: Connection, wanted: Values) -> Values:
        """Make it, without its tags."""
        specs = wanted.get("value_specs") or {}
        asked = {**given(wanted, self.fields), **self.extra(wanted), **specs}
        return {"id": self._call(connection, "create")(**asked).id}

    def ready(self, connection: Connection, state: Values) -> None:
        """Give it its tags."""
        if state.get("tags"):
            self._tag(connection, state["id"], state["tags"])

    def _tag(self, connection: Connection, id_: str, tags: list[str]) -> None:
        connection.network.set_tags(self._call(connection, "get")(id_), sorted(tags))

    def read(self, connection: Connection, state: Values) -> Values:
        """What is there."""
        found = self._call(connection, "get")(state["id"])
        seen = {name: getattr(found, sdk, None) for name, sdk in self.fields.items()}
        tags = tags_seen(state, found.tags) if self.tagged else {}
        return {**seen, **tags, **self.observe(connection, found)}

    def update(self, connection: Connection, before: Values, after: Values) -> None:
        """Change what differs."""
        old, new = self.extra(before), self.extra(after)
        changes = changed(before, after, self.fields)
        changes |= {name: value for name, value in new.items() if old.get(name) != value}
        if changes:
            self._call(connection, "update")(before["id"], **changes)
        if self.tagged and before.get("tags") != after.get("tags"):
            self._tag(connection, before["id"], after.get("tags") or [])

    def delete(self, connection: Connection, state: Values) -> None:
        """Delete it, as soon as nothing uses it any more."""
        when_free(lambda: self._call(connection, "delete")(state["id"], ignore_missing=False))


def tags_seen(state: Values, found: list[str] | None) -> Values:
    """Tags that somebody else put there are in ``all_tags`` only."""
    everything = sorted(found or [])
    ours = state.get("tags")
    return {"all_tags": everything, "tags": [tag for tag in everything if tag in ours] if ours else ours}
