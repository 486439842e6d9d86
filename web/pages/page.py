# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every page's context has, and how one is asked for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import Connection

from testyard import fields
from testyard.errors import RequestError, ResultError
from testyard.queue import QueueName
from testyard.run import RunId
from testyard.store import RunPath, pool_prefix
from web.addresses import Addresses

#: What may be kept: live pages never, stored runs for an hour (they don't change).
LIVE = "no-store"
BRIEFLY = "public, max-age=5"
FINISHED = "public, max-age=3600"


class NotFoundError(Exception):
    """There is no such page; the message says so to a reader."""


@dataclass(frozen=True, kw_only=True)
class Page(ABC):
    """A page's context. ``now`` is the time that ages are counted from.

    ``elsewhere`` sends a browser to another page; the JSON twin is answered all the same.
    """

    template: ClassVar[str]
    status: int = 200
    cache: str = LIVE
    elsewhere: str | None = None
    now: float = field(default_factory=time.time)

    @property
    @abstractmethod
    def title(self) -> str:
        """The page's name."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The JSON twin."""


@dataclass(frozen=True)
class Query:
    """What a page is made from: an open index, the address's parts, and where things are.

    ``asked`` is what stands after the address's question mark.
    """

    index: Connection
    names: Mapping[str, str]
    places: Addresses
    asked: Mapping[str, str] = field(default_factory=dict)

    def source(self) -> str:
        """The package in the address; a pool prefix before it must be the right one."""
        source = self.names["source"]
        try:
            fields.package_name(source)
        except RequestError as error:
            raise NotFoundError("There is no package of that name.") from error
        if self.names.get("prefix", pool_prefix(source)) != pool_prefix(source):
            raise NotFoundError("There is no such page.")
        return source

    def target(self) -> QueueName:
        """The release and architecture in the address."""
        try:
            return QueueName("ubuntu", self.names["release"], self.names["architecture"])
        except RequestError as error:
            raise NotFoundError("There is no such release or architecture.") from error

    def run_path(self) -> RunPath:
        """The run in the address."""
        target = self.target()
        try:
            return RunPath(target.release, target.architecture, self.source(), RunId(self.names["run_id"]))
        except ResultError as error:
            raise NotFoundError("There is no run of that name.") from error


#: Makes a page; raises NotFoundError.
Build = Callable[[Query], Page]
