# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard cancel``: end a request that waits or runs."""

from __future__ import annotations

from typing import Annotated

import typer

from testyard.adapters.amqp import Publisher
from testyard.cancel import cancel as leave_note
from testyard.cli.asking import databases, has_database, operator
from testyard.cli.edge import (
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    command_store,
    explained,
    print_json,
)
from testyard.cli.reference import canonical, find
from testyard.client import SiteClient
from testyard.event import EVENTS_EXCHANGE, Event, EventKind
from testyard.index import RequestState, index_errors
from testyard.intake.ending import order_end
from testyard.ports import Store
from testyard.settings import Settings

_UNDER_WAY = (RequestState.QUEUED, RequestState.RUNNING)


@explained
def cancel(
    reference: Annotated[
        str, typer.Argument(metavar="REQUEST", help="Request id, or address of the request's page.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="One line that is shown with the request.")
    ] = "",
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """End a request that waits or runs; it gets no result."""
    settings = command_settings(state)
    with SiteClient(settings.site.url) as site:
        found = find(site, canonical(reference, settings)).request
    if found is None or found["state"] not in _UNDER_WAY:
        raise UsageError(
            f"{reference} has ended: nothing is left to cancel.",
            resolution=f"What became of it: testyard show {reference}",
        )
    request_id = str(found["request_id"])
    why = reason or f"by {operator().login}"
    with command_store(settings) as store:
        request_id = _order_end(settings, store, request_id, str(found["queue"]), why)
    if found["state"] == RequestState.QUEUED:
        # whoever watches need not wait until a worker meets it
        event = Event(EventKind.CANCELLED, request_id, found["queue"], "", data={"reason": why})
        with Publisher(settings.broker.url.get_secret_value()) as publisher:
            publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
    if json_:
        print_json({"request_id": request_id, "state": found["state"], "reason": why})
    elif found["state"] == RequestState.QUEUED:
        typer.echo(f"{request_id} is cancelled.")
    else:
        typer.echo(f"{request_id} runs; it ends within {max(1, settings.worker.lease // 3)} s.")


def _order_end(settings: Settings, store: Store, request_id: str, queue: str, reason: str) -> str:
    if not has_database(settings):  # then what has no id of its own has to be taken before it has one
        leave_note(store, request_id, reason)
        return request_id
    with databases(settings) as (_, index), index_errors(), index.connect() as connection:
        return order_end(store, connection, request_id, queue, reason)
