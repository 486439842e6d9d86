# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ends what waits in vain, as `testyard queue tidy` does."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from testyard.adapters.amqp import Publisher
from testyard.intake.care import find_useless
from testyard.intake.engine import create_intake, intake_engine
from testyard.intake.identity import Identity
from testyard.intake.published import Published
from testyard.intake.waiting import Yard
from testyard.ports import Store
from testyard.settings import Settings

log = logging.getLogger(__name__)

#: Who stands in the audit log.
_WHO = Identity("function/index", "tidy")


class Tidier:
    """For one thread. Several copies may look at once."""

    def __init__(self, settings: Settings, index: Engine, store: Store) -> None:
        """Raises SettingsError if the folder of the archives' indexes cannot be used."""
        self._settings, self._index, self._store = settings, index, store
        self._memory = intake_engine(settings)
        self._published = Published(settings)

    def tidy(self) -> int:
        """End it; returns how many. Raises StoreError, BrokerError, TestyardError."""
        create_intake(self._memory)
        found = find_useless(self._published, self._memory, self._index)
        if found:
            with Publisher(self._settings.broker.url.get_secret_value()) as publisher:
                yard = Yard(self._memory, self._index, self._store, publisher, _WHO)
                for one in found:
                    yard.remove(one.row, one.reason)
                    log.info("request %s: it waits in vain: %s", one.row.request_id, one.reason)
        return len(found)
