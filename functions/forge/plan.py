# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is to be asked for because of a hook: tests of its address, of the project's file, or its defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from functions.forge.asked import submit_time
from functions.forge.shown import derived_id
from testyard.adapters.forge import Forge
from testyard.errors import RequestError
from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook
from testyard.intake.hookfile import (
    FILE_NAME,
    Ask,
    Command,
    asks_of_address,
    asks_of_file,
    asks_of_project,
)
from testyard.intake.projects import Project
from testyard.intake.submit import Wish
from testyard.intake.wishes import wishes_of
from testyard.settings import Settings

#: Requests that one delivery may make.
MOST_REQUESTS = 100


def asks_for(hook: Hook, delivery: Delivery, project: Project, forge: Forge) -> tuple[Ask, ...]:
    """All tests that a project has. Raises RequestError, and ForgeError if its file cannot be read."""
    if asks := asks_of_address(delivery.query):
        return asks
    # a stranger's own file could ask for anything, as often as they like: theirs is tested by our rules
    ref = hook.branch if hook.stranger else hook.head
    content = forge.file(hook.project, FILE_NAME, ref)
    if content is not None:
        return asks_of_file(content)
    if asks := asks_of_project(project.defaults):
        return asks
    where = f"branch {hook.branch}" if hook.stranger else f"commit {hook.head[:10]}"
    raise RequestError(FILE_NAME, f"there is none in {where}, and the hook's address has no parameters")


def wishes_for(
    settings: Settings,
    asks: Sequence[Ask],
    hook: Hook,
    delivery: Delivery,
    command: Command | None = None,
) -> tuple[Wish, ...]:
    """The requests that follow, of a command's names only those. Raises RequestError naming the field."""
    names = command.names if command else ()
    found: list[Wish] = []
    known: set[str] = set()
    for number, ask in enumerate(asks):
        # a label lets the forge's events ask; whoever gives a command asks themselves
        if not ask.wanted(hook, labelled=command is not None):
            continue
        for wish in _wishes(settings, ask, hook, delivery, number):
            called = _names(ask, wish)
            known |= called
            if not names or called & set(names):
                found.append(wish)
    if names and not found:
        raise RequestError(
            "/test", f"nothing is called {' or '.join(names)[:200]}; there is: {', '.join(sorted(known))}"
        )
    if len(found) > MOST_REQUESTS:
        raise RequestError(FILE_NAME, f"asks for {len(found)} requests; {MOST_REQUESTS} at most")
    return tuple(found)


def _wishes(settings: Settings, ask: Ask, hook: Hook, delivery: Delivery, number: int) -> tuple[Wish, ...]:
    parameters = {**_parameters(ask, hook), "submit-time": submit_time(delivery.time)}
    package = ask.package or _package_of(hook.project)
    made: list[Wish] = []
    for release in ask.release or (None,):
        made += wishes_of(
            settings,
            package,
            parameters,
            release=release,
            architectures=ask.arch or None,
            subject=f"{hook.thing}@{hook.head}",
        )
    return tuple(
        replace(
            wish,
            request_id=derived_id(
                delivery,
                wish.queue.release,
                wish.queue.architecture,
                str(parameters.get("testname", "")),
                str(number),
            ),
        )
        for wish in made
    )


def _parameters(ask: Ask, hook: Hook) -> dict[str, Any]:
    env = [*ask.parameters.get("env", ())]
    if hook.number:
        env.append(f"UPSTREAM_PULL_REQUEST={hook.number}")
    # by it two pushes differ, though they are fetched from the same place
    env.append(f"UPSTREAM_COMMIT={hook.head}")
    if hook.statuses_url and hook.forge == "github":
        env.append(f"GITHUB_STATUSES_URL={hook.statuses_url}")
    parameters = {**ask.parameters, "env": env}
    if not (parameters.get("build-git") or parameters.get("test-git")):
        parameters["build-git"] = f"{hook.clone}#{hook.ref}"
    return parameters


def _package_of(project: str) -> str:
    return re.sub(r"[^A-Za-z0-9+.-]+", "-", project.rpartition("/")[2]).strip("-.+") or "project"


def _names(ask: Ask, wish: Wish) -> set[str]:
    queue = wish.queue
    place = f"{queue.release}/{queue.architecture}"
    called = {queue.release, queue.architecture, place, wish.package, ask.name}
    return {name for name in (*called, str(ask.parameters.get("testname", ""))) if name}
