# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all jobs of a worker share."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from testyard.settings import Settings
from worker.live import LiveSender
from worker.metrics import Metrics
from worker.rules import Rules
from worker.testbed.base import Testbed


@dataclass(frozen=True)
class Tools:
    """Each is for use by any thread."""

    settings: Settings
    testbed: Testbed
    sender: LiveSender
    metrics: Metrics
    rules: Rules
    slots: threading.Semaphore
    ppas_known: bool
