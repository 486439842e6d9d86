# SPDX-License-Identifier: AGPL-3.0-or-later
"""The forge function: deliveries of hooks → requests; what became of them → statuses on the forges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from starlette.applications import Starlette

from functions.asgi import Background, consuming, function_app, repeating, start_logging
from functions.forge.hands import Hands
from functions.forge.hooks import HookWork
from functions.forge.statuses import status_work
from functions.periodic import Periodic
from functions.tables import Tables
from testyard.adapters.amqp import HOOKS_LATER_QUEUE, HOOKS_QUEUE, LATER_ARGUMENTS, SharedPublisher
from testyard.adapters.consumer import Consumer
from testyard.adapters.forges import Forges
from testyard.adapters.swift import SwiftStore
from testyard.index import index_engine
from testyard.intake import create_intake, intake_engine
from testyard.intake.gate import Gate
from testyard.intake.pauses import Pauses
from testyard.intake.projects import ProjectFile
from testyard.intake.sender import BrokerSender
from testyard.intake.submit import Door
from testyard.settings import Settings, load_settings

#: Seconds between two looks for deliveries that may be forgotten.
_TIDY_INTERVAL = 3600.0


def create_app() -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment. Raises SettingsError."""
    start_logging()
    settings = load_settings()
    projects = ProjectFile(settings.intake.projects)
    return function_app([*hook_work(settings, projects), *status_work(settings, projects.now)])


def hook_work(settings: Settings, projects: ProjectFile) -> list[Background]:
    """The work on deliveries, not begun yet. Raises SettingsError."""
    work, close = make_work(settings, projects)
    consumer = Consumer(settings.broker.url.get_secret_value(), HOOKS_QUEUE, work.handle)
    tidier = Periodic("hooks: tidy", _TIDY_INTERVAL, work.forget_old)

    def run() -> None:
        try:
            consumer.run()
        finally:
            close()

    return [
        replace(consuming("hooks", consumer), run=run),
        repeating(tidier),
    ]


def make_work(settings: Settings, projects: ProjectFile) -> tuple[HookWork, Callable[[], None]]:
    """The work, and what closes its connections. Raises SettingsError."""
    url = settings.broker.url.get_secret_value()
    memory = intake_engine(settings)
    database = settings.database.url.get_secret_value()
    index = index_engine(database)
    tables = (Tables(memory, create_intake), Tables(index_engine(database, writer=True)))
    sender = BrokerSender(url, settings.topology.queues())
    publisher = SharedPublisher(url)

    def ensure() -> None:
        for each in tables:
            each.ensure()

    hands = Hands(
        settings=settings,
        memory=memory,
        index=index,
        door=Door(memory, index, sender),
        gate=Gate.of(settings, memory),
        store=SwiftStore(settings.store),
        projects=projects.now,
        forges=Forges(Pauses(memory)),
        later=lambda body: publisher.put(HOOKS_LATER_QUEUE, body, LATER_ARGUMENTS),
        tell=sender.tell_all,
        ensure=ensure,
    )

    def close() -> None:
        sender.close()
        publisher.close()

    return HookWork(hands), close
