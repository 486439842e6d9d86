# SPDX-License-Identifier: AGPL-3.0-or-later
"""The notify function: completion messages → who is to be told → mail, Matrix, ntfy, webhooks."""

from __future__ import annotations

import logging

from sqlalchemy import Engine
from starlette.applications import Starlette

from functions.asgi import consuming, function_app, repeating, start_logging
from functions.notify.news import body_of, news_of
from functions.notify.rules import Destination, Rules, read_rules
from functions.notify.tell import NotToldError, tell
from functions.periodic import Periodic
from functions.tables import Tables
from testyard.adapters.amqp import NOTIFY_QUEUE
from testyard.adapters.consumer import Consumer
from testyard.errors import ResultError
from testyard.event import CompletionMessage
from testyard.index import index_engine, index_errors
from testyard.intake import create_intake, intake_engine, notices
from testyard.intake.pauses import Pauses
from testyard.settings import load_settings
from testyard.store import is_private, is_results_container

log = logging.getLogger(__name__)

_TELLERS = 2
_TELL_INTERVAL = 0.5
_TIDY_INTERVAL = 3600.0
#: Rows of one call of `Notifier.tell_all`.
_AT_ONCE = 50


class Notifier:
    """For any number of threads."""

    def __init__(self, memory: Engine, index: Engine, rules: Rules, *, site: str) -> None:
        self._memory, self._index, self._rules, self._site = memory, index, rules, site
        self._pauses = Pauses(memory)

    def on_completion(self, body: bytes) -> int:
        """Write down whom to tell of a run; returns how many are new. Raises ResultError, TestyardError."""
        message = CompletionMessage.from_bytes(body)
        if not is_results_container(message.container):
            raise ResultError(f"completion message: container {message.container!r} holds no results")
        if is_private(message.container):
            return 0
        run = f"{message.container}/{message.path}"
        with index_errors(), self._index.connect() as connection:
            news = news_of(connection, message)
        told = self._rules.told_of(news.kind, **news.of_run)
        if not told:
            return 0
        content = body_of(news, self._site)
        with index_errors(), self._memory.begin() as connection:
            return sum(notices.put(connection, each.name, run, content) for each in told)

    def tell_all(self) -> int:
        """Tell what is to be told now; returns how many rows it tried. Raises TestyardError."""
        tried = 0
        while tried < _AT_ONCE and self._tell_one():
            tried += 1
        return tried

    def tidy(self) -> None:
        """Forget what is old. Raises TestyardError."""
        with index_errors(), self._memory.begin() as connection:
            notices.forget_old(connection)

    def _tell_one(self) -> bool:
        with index_errors(), self._memory.begin() as connection:
            row = notices.take(connection)
        if row is None:
            return False
        try:
            self._tell(row)
        except NotToldError as error:
            if error.unasked:
                with index_errors(), self._memory.begin() as connection:
                    notices.put_off(connection, row, error.brief, error.retry_after or 1.0)
                return True
            with index_errors(), self._memory.begin() as connection:
                pause = notices.failed(connection, row, error.brief, again=not error.lasting)
            after = "given up" if pause is None else f"again in {pause:.0f} s"
            log.warning("%s: %s: %s; %s", row.destination, row.run, error.brief, after)
            return True
        with index_errors(), self._memory.begin() as connection:
            notices.told(connection, row)
        return True

    def _tell(self, row: notices.Notice) -> None:
        destination = self._rules.destinations.get(row.destination)
        if destination is None:
            raise NotToldError("the rules name no such destination any more", lasting=True)
        if row.broken_off and not destination.webhook:
            # perhaps it was told: twice would be worse than not at all. A webhook has an id to know it by
            raise NotToldError("whoever told it was killed meanwhile", lasting=True)
        self._tell_patiently(destination, row)

    def _tell_patiently(self, destination: Destination, row: notices.Notice) -> None:
        """One destination that is away, or wants to be left alone, holds up none of the others."""
        name = f"notify/{destination.name}"
        wait, trial = self._pauses.enter((name,))
        if wait:
            brief = f"{destination.name}: not told for another {wait:.0f} s"
            raise NotToldError(brief, retry_after=wait, unasked=True)
        try:
            tell(destination, row)
        except NotToldError as error:
            if not error.lasting:
                self._pauses.failed(name, error.retry_after, trial=bool(trial))
            raise
        if trial:
            self._pauses.worked((name,))


def create_app() -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment. Raises SettingsError."""
    start_logging()
    settings = load_settings()
    memory = intake_engine(settings)
    index = index_engine(settings.database.url.get_secret_value(), writer=True)
    tables = (Tables(memory, create_intake), Tables(index))
    notifier = Notifier(memory, index, read_rules(settings.notify.rules), site=settings.site.url)

    def ensure() -> None:
        for each in tables:
            each.ensure()

    def on_completion(body: bytes) -> None:
        ensure()
        notifier.on_completion(body)

    def tell_all() -> None:
        ensure()
        notifier.tell_all()

    def tidy() -> None:
        ensure()
        notifier.tidy()

    consumer = Consumer(settings.broker.url.get_secret_value(), NOTIFY_QUEUE, on_completion)
    tellers = [Periodic("notifications", _TELL_INTERVAL, tell_all) for _ in range(_TELLERS)]
    tidier = Periodic("tidy", _TIDY_INTERVAL, tidy)
    return function_app([consuming("completions", consumer), *map(repeating, (*tellers, tidier))])
