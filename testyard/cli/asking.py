# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the command line puts requests into their queues.

Where the settings name a database it goes through the door that all others use, so that what is known
already is answered with its id, and the audit log has a line. Else straight to the broker.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import typer
from sqlalchemy import Engine

from testyard.adapters.amqp import Publisher
from testyard.cli.edge import print_json, say
from testyard.errors import BrokerError, SettingsError
from testyard.event import EVENTS_EXCHANGE, PRIVATE_PACKAGE, Event, EventKind
from testyard.index import create_tables, index_engine
from testyard.intake.engine import create_intake, intake_engine
from testyard.intake.identity import Identity
from testyard.intake.known import Standing
from testyard.intake.sender import BrokerSender
from testyard.intake.submit import Door, Wish
from testyard.request import TestRequest, make_request, new_request_id
from testyard.secrets import masked_parameters
from testyard.settings import Settings

#: What is said of a request, before the name of its queue.
_WORDS = {
    Standing.ACCEPTED: "waits in",
    Standing.QUEUED: "waits already in",
    Standing.RUNNING: "runs already, from",
}


@dataclass(frozen=True)
class Asked:
    """What became of one wish; ``path`` is the run's that has passed already."""

    request_id: str
    queue: str
    url: str
    standing: Standing = Standing.ACCEPTED
    path: str = ""


def operator() -> Identity:
    """Who sits at the terminal: the account, or the one that became root by sudo."""
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    return Identity(f"operator/{name}", name)


def has_database(settings: Settings) -> bool:
    """True if the settings say where the index is."""
    return "database" in settings.model_fields_set


@contextmanager
def databases(settings: Settings) -> Iterator[tuple[Engine, Engine]]:
    """The intake's memory, and the index to read; both with their tables. Raises TestyardError."""
    if not has_database(settings):
        raise SettingsError(
            "database.url: not set",
            resolution="Name a local instance (--state), or a settings file (TESTYARD_CONFIG).",
        )
    url = settings.database.url.get_secret_value()
    memory, index = intake_engine(settings), index_engine(url)
    maker = index_engine(url, writer=True)
    try:
        create_tables(maker)
        create_intake(memory)
        yield memory, index
    finally:
        for engine in (memory, index, maker):
            engine.dispose()


def ask(settings: Settings, wishes: Sequence[Wish]) -> tuple[Asked, ...]:
    """Put all into their queues, or raise and put none: RequestError, BrokerError, TestyardError.

    Without a database those before the one that failed are sent.
    """
    if not has_database(settings):
        return tuple(_straight(settings, wishes))
    with databases(settings) as (memory, index):
        sender = BrokerSender(settings.broker.url.get_secret_value())
        try:
            answers = Door(memory, index, sender).submit(wishes, operator())
        finally:
            sender.close()
    return tuple(
        Asked(
            found.request_id, str(found.queue), _page(settings, found.request_id), found.standing, found.path
        )
        for found in answers
    )


def ask_and_show(settings: Settings, wishes: Sequence[Wish], *, as_json: bool) -> None:
    """As `ask`, and tell what became of each; also of those that were sent before one failed."""
    packages = [wish.package for wish in wishes]
    if has_database(settings):
        show_asked(ask(settings, wishes), packages, as_json=as_json)
        return
    sent: list[Asked] = []
    try:
        sent.extend(_straight(settings, wishes))
    finally:
        if sent:
            show_asked(sent, packages[: len(sent)], as_json=as_json)


def ask_slowly(settings: Settings, wishes: Sequence[Wish], *, pause: float, as_json: bool) -> None:
    """As `ask_and_show`, one each ``pause`` seconds. Who stops it has asked for those that are shown."""
    done: list[Asked] = []
    try:
        for number, wish in enumerate(wishes):
            time.sleep(pause if number else 0)
            done.extend(ask(settings, [wish]))
            if not as_json:
                _show_one(done[-1])
    finally:
        if as_json:
            show_asked(done, [wish.package for wish in wishes[: len(done)]], as_json=True)


def show_asked(asked: Sequence[Asked], packages: Sequence[str], *, as_json: bool) -> None:
    """Tell what became of each."""
    if as_json:
        fields = [
            {
                "request_id": one.request_id,
                "queue": one.queue,
                "url": one.url,
                "package": package,
                "standing": str(one.standing),
            }
            for one, package in zip(asked, packages, strict=True)
        ]
        print_json({"requests": fields})
        return
    for one in asked:
        _show_one(one)
    if any(one.standing is Standing.PASSED for one in asked):
        say("What has passed is asked for again with --force.")
    if under_way := [one for one in asked if one.standing is not Standing.PASSED]:
        say(f"Watch it: testyard follow {under_way[0].request_id}")


def _show_one(asked: Asked) -> None:
    """Each line fits 80 columns, but for a long address."""
    if asked.standing is Standing.PASSED:
        typer.echo(f"{asked.request_id or asked.path} has passed already: {asked.path}")
    else:
        typer.echo(f"{asked.request_id} {_WORDS[asked.standing]} {asked.queue}")
    if asked.request_id:
        typer.echo(f"  {asked.url}")


def _straight(settings: Settings, wishes: Sequence[Wish]) -> Iterator[Asked]:
    requests = [_request(wish) for wish in wishes]  # all are checked before one is sent
    with Publisher(settings.broker.url.get_secret_value()) as publisher:
        for wish, request in zip(wishes, requests, strict=True):
            yield _send(settings, publisher, wish, request)


def _request(wish: Wish) -> TestRequest:
    moment = time.strftime("%Y-%m-%d %H:%M:%S+0000", time.gmtime())
    usual = {"requester": operator().login, "submit-time": moment}
    return make_request(wish.package, {**usual, **wish.parameters, "uuid": new_request_id()})


def _send(settings: Settings, publisher: Publisher, wish: Wish, request: TestRequest) -> Asked:
    request_id = request.uuid or ""
    accepted = time.time()
    publisher.publish_request(wish.queue, request.body(), request_id)
    package = PRIVATE_PACKAGE if request.private else request.package
    data = {"parameters": {} if request.private else masked_parameters(request.parameters)}
    event = Event(EventKind.ACCEPTED, request_id, str(wish.queue), package, time=accepted, data=data)
    with suppress(BrokerError):  # the request is safe, and what its worker tells is enough
        publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
    return Asked(request_id, str(wish.queue), _page(settings, request_id))


def _page(settings: Settings, request_id: str) -> str:
    return f"{settings.site.url}/requests/{request_id}"
