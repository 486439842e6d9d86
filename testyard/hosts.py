# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of the hosts that a worker runs tests on: one class for each kind of testbed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from testyard.queue import QueueName
from testyard.section import Section


class Host(Section):
    """What every kind has. Empty ``architectures`` or ``releases``: all of the topology."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9.-]{0,60}$", description="its name in results and commands")
    slots: int = Field(default=1, ge=1, le=1000, description="runs at the same time")
    architectures: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()

    def serves(self, queue: QueueName) -> bool:
        """True if tests of this queue may run there."""
        return queue.architecture in (self.architectures or (queue.architecture,)) and queue.release in (
            self.releases or (queue.release,)
        )


class UnshareHost(Host):
    """The worker's machine, tests in namespaces of their own."""

    testbed: Literal["unshare"] = "unshare"


class NullHost(Host):
    """The worker's machine itself, unprotected."""

    testbed: Literal["null"] = "null"


#: A host of any kind; ``testbed`` tells which.
AnyHost = Annotated[UnshareHost | NullHost, Field(discriminator="testbed")]
