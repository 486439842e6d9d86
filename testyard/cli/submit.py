# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard request``: ask for tests."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from testyard.adapters.amqp import Publisher
from testyard.cli.choices import check_names_differ, checked_request, chosen_queues, note_pocket
from testyard.cli.edge import (
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    explained,
    print_json,
    say,
)
from testyard.cli.follow import follow
from testyard.cli.followed import finish, interruptible
from testyard.client import SiteClient
from testyard.errors import BrokerError
from testyard.event import EVENTS_EXCHANGE, PRIVATE_PACKAGE, Event, EventKind
from testyard.queue import QueueName
from testyard.request import TestRequest, new_request_id
from testyard.secrets import masked_parameters
from testyard.settings import Settings


@dataclass(frozen=True)
class Accepted:
    """A request that is in its queue."""

    request_id: str
    queue: str
    url: str


@explained
def request(
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="Source package to test.")],
    release: Annotated[
        str | None, typer.Option(metavar="NAME", help="Release; the only configured one by default.")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Architecture; repeatable; all configured by default."),
    ] = None,
    trigger: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE/VERSION", help="What asks for it; repeatable.")
    ] = None,
    ppa: Annotated[list[str] | None, typer.Option(metavar="OWNER/NAME", help="Archive; repeatable.")] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="For the test; repeatable.")
    ] = None,
    testname: Annotated[str | None, typer.Option(metavar="NAME", help="Run only this test.")] = None,
    all_proposed: Annotated[bool, typer.Option("--all-proposed", help="Use all of -proposed.")] = False,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Queue context, one of those configured; ubuntu (or ppa) by default."
        ),
    ] = None,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Watch it until it is done.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Ask for the tests of a package; prints the request's id, by which it is found at every later step."""
    settings = command_settings(state)
    parameters: dict[str, Any] = {
        "triggers": trigger or [],
        **({"ppas": ppa} if ppa else {}),
        **({"env": env} if env else {}),
        **({"testname": testname} if testname is not None else {}),
        **({"all-proposed": "1"} if all_proposed else {}),
        "submit-time": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S+0000}",
    }
    check_names_differ(env or [])
    checked = checked_request(package, parameters)  # refuses before anything is sent
    queues = chosen_queues(settings, context, release, arch, with_ppa=bool(ppa))
    if follow_ and len(queues) > 1:
        names = ", ".join(queue.architecture for queue in queues)
        raise UsageError("--follow: needs one architecture", resolution=f"Name it with --arch: {names}.")
    note_pocket(settings, checked)
    requests = [checked_request(package, {**parameters, "uuid": new_request_id()}) for _ in queues]
    if not follow_:
        _send_all(settings, requests, queues, as_json=json_)
        return
    _send_and_follow(settings, requests[0], queues[0], as_json=json_)


def _send_all(
    settings: Settings, requests: list[TestRequest], queues: tuple[QueueName, ...], *, as_json: bool
) -> None:
    """Send and show. Raises BrokerError; those that were accepted before are shown all the same."""
    accepted: list[Accepted] = []
    try:
        for request, queue in zip(requests, queues, strict=True):
            accepted.append(_send(settings, request, queue))
    finally:
        if accepted:
            _show(accepted, as_json=as_json)


def _send(settings: Settings, request: TestRequest, queue: QueueName) -> Accepted:
    """Put a request into its queue and tell of it. Raises BrokerError: then it was not accepted."""
    assert request.uuid is not None
    with Publisher(settings.broker.url.get_secret_value()) as publisher:
        accepted = time.time()
        publisher.publish_request(queue, request.body(), request.uuid)
        package = PRIVATE_PACKAGE if request.private else request.package
        data = {"parameters": {} if request.private else masked_parameters(request.parameters)}
        event = Event(EventKind.ACCEPTED, request.uuid, str(queue), package, time=accepted, data=data)
        with suppress(BrokerError):  # the request is safe, and what its worker tells is enough
            publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
    return Accepted(request.uuid, str(queue), f"{settings.site.url}/requests/{request.uuid}")


def _show(accepted: list[Accepted], *, as_json: bool) -> None:
    if as_json:
        fields = [{"request_id": one.request_id, "queue": one.queue, "url": one.url} for one in accepted]
        print_json({"requests": fields})
        return
    for one in accepted:  # each line fits 80 columns, but for a long address
        typer.echo(f"{one.request_id} waits in {one.queue}")
        typer.echo(f"  {one.url}")
    say(f"Watch it: testyard follow {accepted[0].request_id}")


def _send_and_follow(settings: Settings, request: TestRequest, queue: QueueName, *, as_json: bool) -> None:
    assert request.uuid is not None
    console = Console(stderr=as_json, soft_wrap=True)
    with SiteClient(settings.site.url) as site:
        accepted = _send(settings, request, queue)
        with interruptible(accepted.request_id):
            console.print(f"request {accepted.request_id} is in {accepted.queue}", highlight=False)
            console.print(accepted.url, style="blue underline", highlight=False)
            run = follow(site, accepted.request_id, console)
    finish(accepted.request_id, accepted.queue, run, as_json)
