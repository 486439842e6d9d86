# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries as the webhook function hands them on, and what is asked for because of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.forge.plan import chosen, plan_for
from functions.webhook.hook import event_of, id_of, payload_of, project_of, relevant
from tests.hooks import Hook
from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook as Found
from testyard.intake.hook import read_hook
from testyard.intake.hookfile import (
    Ask,
    Command,
    asks_of_file,
)
from testyard.intake.submit import Wish
from testyard.settings import Settings, Topology

SETTINGS = Settings(topology=Topology(releases=("noble", "jammy"), architectures=("amd64", "arm64")))


def delivered(hook: Hook, query: str = "") -> Delivery:
    headers = {name.lower(): value for name, value in hook.headers.items()}
    text, payload = payload_of(headers, hook.body)
    event = event_of(hook.forge, headers)
    assert relevant(hook.forge, event)
    return Delivery(
        forge=hook.forge,
        project=project_of(hook.forge, payload),
        event=event,
        id=id_of(hook.forge, headers),
        query=query,
        address="192.0.2.1",
        body=text,
        time=1_700_000_000.5,
    )


def wishes_for(
    settings: Settings, asks: Sequence[Ask], hook: Found, delivery: Delivery, command: Command | None = None
) -> tuple[Wish, ...]:
    planned = plan_for(settings, asks, hook, delivery, commanded=command is not None)
    return tuple(each.wish for each in chosen(planned, command))


def contexts_of(content: str, hook: Hook) -> list[str]:
    planned = plan_for(SETTINGS, asks_of_file(content.encode()), read(hook), delivered(hook))
    return [each.context for each in planned]


def read(hook: Hook) -> Found:
    found = read_hook(delivered(hook))
    assert found is not None
    return found


def fuzz(check: Any, cases: int) -> None:
    calm = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings(max_examples=cases, deadline=None, suppress_health_check=calm, database=None)(
        given(st.data())(check)
    )()
