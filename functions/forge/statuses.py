# SPDX-License-Identifier: AGPL-3.0-or-later
"""Statuses back to forges: events → what they shall show → telling them; a sweep for what was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from functions.asgi import Background, consuming, repeating
from functions.forge.status_events import apply
from functions.forge.status_sender import StatusSender
from functions.forge.status_sweep import StatusSweep
from functions.periodic import Periodic
from functions.tables import Tables
from testyard.adapters.amqp import SHOWN_QUEUE
from testyard.adapters.consumer import Consumer
from testyard.adapters.deadletters import dead_letters
from testyard.adapters.forges import Forges
from testyard.adapters.swift import SwiftStore
from testyard.event import Event
from testyard.index import index_engine, index_errors
from testyard.intake import create_intake, intake_engine
from testyard.intake.pauses import Pauses
from testyard.intake.projects import Projects
from testyard.settings import Settings

log = logging.getLogger(__name__)

#: Threads that tell forges: one that hangs keeps one of them for 20 s.
_TELLERS = 4
#: Seconds between two looks for something to tell, and for what is silent.
_TELL_INTERVAL = 0.5
_SWEEP_INTERVAL = 5.0
#: Dead letters that are looked at, once in 5 min while something has waited for 5.
_MOST_LETTERS = 20_000
#: Seconds that the store may take: a row is held for 60 s in all.
_STORE_SECONDS = 10.0


def status_work(settings: Settings, projects: Callable[[], Projects]) -> list[Background]:
    """The work, not begun yet; ``projects`` gives them as they are now. Raises SettingsError."""
    url = settings.broker.url.get_secret_value()
    memory = intake_engine(settings)
    index = index_engine(settings.database.url.get_secret_value(), writer=True)
    tables = (Tables(memory, create_intake), Tables(index))
    store = SwiftStore(settings.store.model_copy(update={"retries": 0}), timeout=_STORE_SECONDS)
    sender = StatusSender(memory, store, projects, Forges(Pauses(memory)), site=settings.site.url)
    sweeper = StatusSweep(memory, index, store, partial(dead_letters, url, _MOST_LETTERS))

    def ensure() -> None:
        for each in tables:
            each.ensure()

    def on_event(body: bytes) -> None:
        event = Event.from_bytes(body)
        ensure()
        with index_errors(), memory.begin() as connection:
            apply(connection, event)

    def tell() -> None:
        ensure()
        sender.tell_all()

    def sweep() -> None:
        ensure()
        if found := sweeper.sweep():
            log.info("the sweep found %d requests of which no event told", found)

    consumer = Consumer(url, SHOWN_QUEUE, on_event)
    looker = Periodic("statuses: sweep", _SWEEP_INTERVAL, sweep)
    tellers = [Periodic(f"statuses {number}", _TELL_INTERVAL, tell) for number in range(_TELLERS)]
    return [
        consuming("statuses: events", consumer),
        repeating(looker),
        *map(repeating, tellers),
    ]
