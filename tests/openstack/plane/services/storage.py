# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cinder's scheduler and volume service, in the process of its API."""

from __future__ import annotations

import threading

from cinder import service
from cinder.common import constants
from oslo_config import cfg

_reporting = threading.Lock()


class Service(service.Service):  # type: ignore[misc]
    """One of several in a process: Cinder keeps the id under which it says "I am up" in the class."""

    def report_state(self) -> None:
        """Say it under the own id."""
        with _reporting:
            service.Service.service_id = self.origin_service_id
            super().report_state()


def start() -> None:
    """Start both, the volumes first: the scheduler would wait a minute for the first report of one."""
    for backend in cfg.CONF.enabled_backends:
        Service.create(
            host=f"{cfg.CONF.host}@{backend}",
            service_name=backend,
            binary=constants.VOLUME_BINARY,
            coordination=True,
        ).start()
    Service.create(binary=constants.SCHEDULER_BINARY).start()
