# SPDX-License-Identifier: AGPL-3.0-or-later
"""Of several pushes the newest counts, in whichever order their deliveries come and copies work on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from functions.forge import asked
from functions.forge.hands import Hands, RefusedError
from functions.forge.newest import newest_of, take_as_newest, told_at
from testyard.errors import ForbiddenError, ForgeError
from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook, HookKind, head_of_pull
from testyard.intake.identity import Identity
from testyard.intake.projects import Project

_NEWER = "a newer push is being tested"


class Order:
    """For one thread: its store is."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    def end(self, hook: Hook, delivery: Delivery, who: Identity, reason: str) -> int:
        """Cancel all that was asked for before; returns how many. Raises RefusedError."""
        found = asked.about(self._hands.memory, self._hands.index, hook.thing)
        self.refuse_old(replace(hook, kind=HookKind.CLOSED), delivery)
        found = tuple(
            each for each in found if each.under_way and each.said <= asked.submit_time(delivery.time)
        )
        try:
            for each in found:
                self._hands.gate.may_cancel(who, each.owner, each.package, str(each.queue))
        except ForbiddenError as error:
            raise RefusedError(error.brief, who) from error
        self._end_these(found, reason, who, delivery)
        return len(found)

    def take_over(self, hook: Hook, delivery: Delivery, project: Project, who: Identity) -> None:
        """End what older pushes asked for. If a newer one is known, end what this one asked for.

        Raises RefusedError then, and ForgeError if only the forge knows which is newer.
        """
        tied = self._lost_tie(hook, delivery, project)
        if not tied:
            take_as_newest(self._hands.memory, hook, delivery)
        # a newer push notes that it is the newest before it asks for anything: so either it is not in
        # this list, or it is known now
        found = asked.about(self._hands.memory, self._hands.index, hook.thing)
        ours = [each for each in found if each.under_way and each.subject == f"{hook.thing}@{hook.head}"]
        if problem := _NEWER if tied else self._outdated(hook, delivery):
            self._end_these(ours, problem, who, delivery)
            raise RefusedError(problem)
        old = [each for each in found if each.under_way and each not in ours]
        self._end_these(old, f"superseded by commit {hook.head[:10]}", who, delivery)

    def refuse_old(self, hook: Hook, delivery: Delivery) -> None:
        """Raises RefusedError if something newer makes it useless."""
        if problem := self._outdated(hook, delivery):
            raise RefusedError(problem)

    def _outdated(self, hook: Hook, delivery: Delivery) -> str:
        newest = newest_of(self._hands.memory, hook.thing)
        if newest is None or not newest.outdates(hook, told_at(hook, delivery)):
            return ""
        return "it was closed since" if newest.closed else _NEWER

    def moved(self, hook: Hook, number: int, ref: str) -> str:
        """Which commit is fetched by now instead of the hook's; empty if none is known."""
        newest = newest_of(self._hands.memory, f"{hook.forge}/{hook.project}#{number or ref}")
        return newest.head if newest and newest.head != hook.head else ""

    def _lost_tie(self, hook: Hook, delivery: Delivery, project: Project) -> bool:
        """Forges tell whole seconds: of two pushes in one of them the forge itself knows the newer."""
        newest = newest_of(self._hands.memory, hook.thing)
        if newest is None or newest.head == hook.head or newest.told != told_at(hook, delivery):
            return False
        try:
            pull = self._hands.forges.of(project).pull_request(hook.project, hook.number)
        except ForgeError as error:
            if not (error.lasting or error.refused):  # it can be asked later
                raise
            return delivery.time < newest.received
        return head_of_pull(hook.forge, pull) not in ("", hook.head)

    def _end_these(
        self, requests: Sequence[asked.Before], reason: str, who: Identity, delivery: Delivery
    ) -> None:
        if requests:
            hands = self._hands
            asked.end(
                requests,
                reason,
                who,
                delivery.address,
                memory=hands.memory,
                store=hands.store,
                tell=hands.tell,
            )
