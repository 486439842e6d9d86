# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is to be asked for because of a hook: tests of its address, of the project's file, or its defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from functions.forge.asked import submit_time
from functions.forge.shown import Planned, derived_id, place_of
from testyard.adapters.forge import Forge
from testyard.errors import RequestError
from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook, HookKind
from testyard.intake.hookfile import (
    FILE_NAME,
    Ask,
    Command,
    asks_of_address,
    asks_of_file,
    asks_of_project,
)
from testyard.intake.projects import Project
from testyard.intake.statuses import context_of
from testyard.intake.submit import Wish
from testyard.intake.wishes import wishes_of
from testyard.settings import Settings

#: Requests that one delivery may make.
MOST_REQUESTS = 100


def asks_for(hook: Hook, delivery: Delivery, project: Project, forge: Forge) -> tuple[Ask, ...]:
    """All tests that a project has. Raises RequestError, and ForgeError if its file cannot be read."""
    if asks := asks_of_address(delivery.query):
        return asks
    # a stranger's own file could ask for anything, as often as they like: theirs is tested by our rules,
    # and not by those of whichever old branch they choose
    ref = hook.default_branch if hook.stranger else hook.head
    content = forge.file(hook.project, FILE_NAME, ref)
    if content is not None:
        return asks_of_file(content)
    asks = asks_of_project(project.defaults)
    if asks or hook.kind is HookKind.PUSHED:  # most branches of most projects ask for nothing
        return asks
    where = f"branch {hook.default_branch}" if hook.stranger else f"commit {hook.head[:10]}"
    raise RequestError(FILE_NAME, f"there is none in {where}, and the hook's address has no parameters")


def plan_for(
    settings: Settings, asks: Sequence[Ask], hook: Hook, delivery: Delivery, *, commanded: bool = False
) -> tuple[Planned, ...]:
    """The requests that follow. Raises RequestError naming the field.

    ``commanded``: a label lets the forge's events ask; whoever gives a command asks themselves.
    """
    found: list[tuple[int, Wish]] = []
    wanted = {number for number, ask in enumerate(asks) if ask.wanted(hook, labelled=commanded)}
    for number, ask in enumerate(asks):
        try:
            found += [(number, wish) for wish in _wishes(settings, ask, hook, delivery, number)]
        except RequestError:
            if number in wanted:
                raise
    contexts = _contexts(asks, found, hook)
    return tuple(
        Planned(wish, contexts[number, _context(wish)], place_of(hook), _names(asks[number], wish))
        for number, wish in found
        if number in wanted
    )


def chosen(planned: Sequence[Planned], command: Command | None) -> tuple[Planned, ...]:
    """Of a command with names only what it names. Raises RequestError if that is nothing, or too much."""
    names = set(command.names) if command else set()
    found = tuple(each for each in planned if not names or each.names & names)
    if len(found) > MOST_REQUESTS:
        raise RequestError(FILE_NAME, f"asks for {len(found)} requests; {MOST_REQUESTS} at most")
    if command and names and not found:
        known = sorted({name for each in planned for name in each.names})
        raise RequestError(
            "/test", f"nothing is called {' or '.join(command.names)[:200]}; there is: {', '.join(known)}"
        )
    return found


def _contexts(
    asks: Sequence[Ask], found: Sequence[tuple[int, Wish]], hook: Hook
) -> dict[tuple[int, str], str]:
    """Where each test is shown, by its number and usual context: no two in one place, or one would hide the
    other. Of all tests, so that a context does not change with the labels."""
    groups: dict[str, dict[int, Ask]] = {}
    for number, wish in found:
        groups.setdefault(_context(wish), {})[number] = asks[number]
    contexts: dict[tuple[int, str], str] = {}
    for context, group in groups.items():
        marks = _marks(group, hook) if len(group) > 1 else {}
        for number in group:
            contexts[number, context] = f"{context}: {marks[number]}" if marks else context
    return contexts


def _marks(group: Mapping[int, Ask], hook: Hook) -> dict[int, str]:
    """What tells the tests of a group apart: their names, or packages, or else numbers."""
    names = {number: ask.name for number, ask in group.items()}
    packages = {number: ask.package or _package_of(hook.project) for number, ask in group.items()}
    for marks in (names, packages):
        if all(marks.values()) and len(set(marks.values())) == len(marks):
            return marks
    return {number: f"{ask.name or 'test'} {number + 1}" for number, ask in group.items()}


def _context(wish: Wish) -> str:
    return context_of(wish.queue.release, wish.queue.architecture, wish.parameters.get("testname"))


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
    # by it two pushes differ, also if another repository is tested
    env.append(f"UPSTREAM_COMMIT={hook.head}")
    if hook.statuses_url and hook.forge == "github":
        env.append(f"GITHUB_STATUSES_URL={hook.statuses_url}")
    parameters = {**ask.parameters, "env": env}
    if not (parameters.get("build-git") or parameters.get("test-git")):
        # not its ref, which may be at another commit when a worker comes to it: the status is this one's.
        # Any server that speaks git's protocol 2 gives a commit by its name (git 2.39 was tried)
        parameters["build-git"] = f"{hook.clone}#{hook.head}"
    return parameters


def _package_of(project: str) -> str:
    return re.sub(r"[^A-Za-z0-9+.-]+", "-", project.rpartition("/")[2]).strip("-.+") or "project"


def _names(ask: Ask, wish: Wish) -> frozenset[str]:
    queue = wish.queue
    place = f"{queue.release}/{queue.architecture}"
    called = {queue.release, queue.architecture, place, wish.package, ask.name}
    return frozenset(name for name in (*called, str(ask.parameters.get("testname", ""))) if name)
