# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all jobs of a worker share."""

from __future__ import annotations

from dataclasses import dataclass

from testyard.adapters.amqp import SharedPublisher
from testyard.ports import Store
from testyard.settings import Settings
from worker.hosts import HostPool
from worker.live import LiveSender
from worker.metrics import Metrics
from worker.order import TurnKeeper
from worker.rules import Rules


@dataclass(frozen=True)
class Tools:
    """Each is for use by any thread."""

    settings: Settings
    pool: HostPool
    store: Store
    publisher: SharedPublisher
    keeper: TurnKeeper
    sender: LiveSender
    metrics: Metrics
    rules: Rules
