# SPDX-License-Identifier: AGPL-3.0-or-later
"""Works on deliveries of hooks: each makes requests, or cancels some, or is refused where people see it.

A delivery may come twice, or be worked on twice because a copy was killed: the ids of its requests are
made from it, so the second time finds them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, delete, select

from functions.forge import asked
from functions.forge.plan import asks_for, wishes_for
from functions.forge.shown import derived_id, show_problem, show_requests
from testyard.adapters.forges import Forges
from testyard.errors import ForbiddenError, ForgeError, LimitError, RequestError, ResultError
from testyard.event import Event
from testyard.index import index_errors, limits
from testyard.index.engine import insert_for
from testyard.intake import audit
from testyard.intake import schema as intake
from testyard.intake.audit import Action
from testyard.intake.delivery import Delivery
from testyard.intake.gate import Gate
from testyard.intake.hook import Hook, HookKind, of_pull_request, read_hook
from testyard.intake.hookfile import Command, commands_of
from testyard.intake.identity import Identity
from testyard.intake.projects import Project, Projects
from testyard.intake.statuses import Shown, Status, of_commit, of_request
from testyard.intake.submit import Door, Wish
from testyard.ports import Store
from testyard.settings import Settings

log = logging.getLogger(__name__)

#: Seconds for which a delivery is tried again while its forge cannot be asked.
_PATIENCE = 3600.0
#: Seconds for which a delivery is remembered.
_REMEMBER = 30 * 86400.0
_PASSED = (Shown.PASS, Shown.NEUTRAL)


@dataclass(frozen=True)
class Hands:
    """All that the work reaches. ``later`` puts a delivery off; ``tell`` sends events;
    ``ensure`` makes the tables."""

    settings: Settings
    memory: Engine
    index: Engine
    door: Door
    gate: Gate
    store: Store
    projects: Callable[[], Projects]
    forges: Forges
    later: Callable[[bytes], None]
    tell: Callable[[Sequence[Event]], None]
    ensure: Callable[[], None]


class _RefusedError(Exception):
    """Nothing is asked for, and why."""


class HookWork:
    """For one thread: its store is."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    def handle(self, body: bytes) -> None:
        """Work on one message of `testyard-hooks`.

        Raises ResultError if it can never work, another TestyardError if it cannot be worked on now.
        """
        delivery = Delivery.from_bytes(body)
        self._hands.ensure()
        if delivery.refused:
            self._note(delivery, Action.HOOK_REFUSED, delivery.refused)
            return
        if self._known(delivery):
            self._note(delivery, Action.HOOK, "it came before")
            return
        try:
            outcome = self._work(delivery)
        except ForgeError as error:
            if _passes(error) and time.time() - delivery.time < _PATIENCE:
                log.warning("%s %s: later: %s", delivery.forge, delivery.project, error.brief)
                self._hands.later(body)
                return
            self._note(delivery, Action.HOOK_REFUSED, error.brief)
            raise ResultError(f"{delivery.forge} {delivery.project}: {error.brief}") from error
        except RequestError as error:
            self._note(delivery, Action.HOOK_REFUSED, error.brief)
            raise ResultError(f"{delivery.forge} {delivery.project}: {error.brief}") from error
        except _RefusedError as error:
            self._remember(delivery, Action.HOOK_REFUSED, str(error))
            return
        self._remember(delivery, Action.HOOK, outcome)

    def forget_old(self) -> None:
        """Forget deliveries of more than 30 days ago."""
        self._hands.ensure()
        with index_errors(), self._hands.memory.begin() as memory:
            old = intake.delivery.c.received < time.time() - _REMEMBER
            memory.execute(delete(intake.delivery).where(old))

    def _work(self, delivery: Delivery) -> str:
        project = self._hands.projects().of(delivery.forge, delivery.project)
        if project is None:
            raise _RefusedError("there is no such project any more")
        hook = read_hook(delivery)
        if hook is None:
            return "not relevant"
        if hook.kind is HookKind.COMMENTED:
            return self._obey(hook, delivery, project)
        if hook.kind is HookKind.RERUN:
            return self._rerun(hook, delivery, _hook_identity(hook))
        if hook.kind is HookKind.CLOSED:
            return self._end(hook, delivery, _hook_identity(hook), "the pull request was closed")
        return self._ask(hook, delivery, project, _hook_identity(hook))

    def _ask(
        self,
        hook: Hook,
        delivery: Delivery,
        project: Project,
        who: Identity,
        command: Command | None = None,
    ) -> str:
        try:
            asks = asks_for(hook, delivery, project, self._hands.forges.of(project))
            wishes = wishes_for(self._hands.settings, asks, hook, delivery, command)
        except RequestError as error:
            raise self._refused(hook, delivery, error.brief) from error
        except ForgeError as error:
            if _passes(error) and time.time() - delivery.time < _PATIENCE:
                raise
            raise self._refused(hook, delivery, f"the tests' file cannot be read: {error.brief}") from error
        if not wishes:
            return "nothing is tested for it"
        if hook.kind is HookKind.UPDATED and not command:
            self._end_superseded(hook, delivery, who)
        wishes = tuple(replace(wish, force=command is not None) for wish in wishes)
        return self._submit(hook, delivery, wishes, who)

    def _submit(self, hook: Hook, delivery: Delivery, wishes: Sequence[Wish], who: Identity) -> str:
        gate = self._hands.gate
        try:
            gate.admit(who, "", len(wishes))
            gate.allow(wishes, who)
            checked = gate.check(wishes).wishes
            made = self._hands.door.submit(checked, who, address=delivery.address)
        except (RequestError, ForbiddenError, LimitError) as error:
            raise self._refused(hook, delivery, error.brief) from error
        with index_errors(), self._hands.memory.begin() as memory:
            show_requests(memory, hook, zip(checked, made, strict=True))
        return f"{len(made)} requests"

    def _refused(self, hook: Hook, delivery: Delivery, reason: str) -> _RefusedError:
        if hook.head:
            with index_errors(), self._hands.memory.begin() as memory:
                show_problem(memory, hook, delivery, reason)
        return _RefusedError(reason)

    def _obey(self, hook: Hook, delivery: Delivery, project: Project) -> str:
        commands = commands_of(hook.comment)
        if not commands:
            return "no command"
        # who may push to the project may do there what its hook may; others what the policy gives them
        who = _hook_identity(hook) if hook.member else Identity(f"{hook.forge}/{hook.who}", hook.who)
        return "; ".join(self._obey_one(command, hook, delivery, project, who) for command in commands)

    def _obey_one(
        self, command: Command, hook: Hook, delivery: Delivery, project: Project, who: Identity
    ) -> str:
        if command.verb == "cancel":
            return self._end(hook, delivery, who, f"{hook.who} said /cancel")
        if not hook.member and not hook.who:
            raise _RefusedError("the forge does not say who wrote the comment")
        if not hook.head:  # GitHub, Forgejo and Gitea do not tell it with a comment
            pull = self._hands.forges.of(project).pull_request(hook.project, hook.number)
            hook = replace(of_pull_request(hook, pull), who=hook.who)
        if command.verb == "retest":
            return self._rerun(hook, delivery, who)
        hook = replace(hook, kind=HookKind.UPDATED)
        return self._ask(hook, delivery, project, who, command)

    def _rerun(self, hook: Hook, delivery: Delivery, who: Identity) -> str:
        with index_errors(), self._hands.memory.connect() as memory:
            if hook.check:
                rows = [row for row in of_request(memory, hook.check) if _same_place(row, hook)]
            else:
                rows = list(of_commit(memory, hook.forge, hook.project, hook.head))
                rows = [row for row in rows if row.wanted.final and row.wanted not in _PASSED]
            found = [(row, asked.again(memory, row.request_id)) for row in rows]
        wishes = [
            replace(wish, request_id=derived_id(delivery, row.request_id)) for row, wish in found if wish
        ]
        if not wishes:
            return "nothing is to run again"
        return self._submit(hook, delivery, wishes, who)

    def _end(self, hook: Hook, delivery: Delivery, who: Identity, reason: str) -> str:
        found = asked.about(self._hands.memory, self._hands.index, hook.thing)
        found = tuple(
            each for each in found if each.under_way and each.said <= asked.submit_time(delivery.time)
        )
        try:
            for each in found:
                self._hands.gate.may_cancel(who, each.owner, each.package)
        except ForbiddenError as error:
            raise _RefusedError(error.brief) from error
        self._end_these(found, reason, who, delivery)
        return f"{len(found)} cancelled"

    def _end_superseded(self, hook: Hook, delivery: Delivery, who: Identity) -> None:
        """What an older push asked for. If a newer one was worked on before, this one is superseded."""
        said = asked.submit_time(delivery.time)
        found = [
            each
            for each in asked.about(self._hands.memory, self._hands.index, hook.thing)
            if each.subject != f"{hook.thing}@{hook.head}"
        ]
        if any(each.said > said for each in found):
            raise _RefusedError("a newer push is being tested")
        old = [each for each in found if each.under_way]
        self._end_these(old, f"superseded by commit {hook.head[:10]}", who, delivery)

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

    def _known(self, delivery: Delivery) -> bool:
        query = select(intake.delivery.c.id).where(
            intake.delivery.c.forge == delivery.forge, intake.delivery.c.id == delivery.key
        )
        with index_errors(), self._hands.memory.connect() as memory:
            return memory.execute(query).first() is not None

    def _remember(self, delivery: Delivery, action: Action, outcome: str) -> None:
        values = {"forge": delivery.forge, "id": delivery.key, "received": delivery.time}
        with index_errors(), self._hands.memory.begin() as memory:
            memory.execute(
                insert_for(memory.dialect)(intake.delivery)
                .values(**values, outcome=limits.text(outcome))
                .on_conflict_do_nothing()
            )
            _record(memory, delivery, action, outcome)

    def _note(self, delivery: Delivery, action: Action, outcome: str) -> None:
        with index_errors(), self._hands.memory.begin() as memory:
            _record(memory, delivery, action, outcome)


def _record(memory: Connection, delivery: Delivery, action: Action, outcome: str) -> None:
    more: dict[str, Any] = {"left_out": delivery.left_out} if delivery.left_out else {}
    who = Identity(f"hook/{delivery.forge}/{delivery.project or '?'}", "")
    audit.record(
        memory,
        action,
        who,
        address=delivery.address,
        event=delivery.event,
        delivery=delivery.id,
        outcome=outcome,
        **more,
    )


def _hook_identity(hook: Hook) -> Identity:
    return Identity(f"hook/{hook.forge}/{hook.project}", hook.who or hook.project)


def _same_place(row: Status, hook: Hook) -> bool:
    return (row.forge, row.project) == (hook.forge, hook.project)


def _passes(error: ForgeError) -> bool:
    """True if it may work later by itself."""
    return not (error.lasting or error.refused)
