# SPDX-License-Identifier: AGPL-3.0-or-later
"""Works on deliveries of hooks: each makes requests, or cancels some, or is refused where people see it.

A delivery may come twice, or be worked on twice because a copy was killed: the ids of its requests are
made from it, so the second time finds them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, select

from functions.forge import asked
from functions.forge.hands import Hands, RefusedError
from functions.forge.newest import forget_old, is_done, labels_given, note_done, take_as_newest
from functions.forge.order import Order
from functions.forge.plan import asks_for, chosen, plan_for
from functions.forge.shown import CONTEXT, Planned, derived_id, place_of, show_problem, show_requests
from testyard.errors import ForbiddenError, ForgeError, LimitError, RequestError, ResultError
from testyard.index import index_errors, limits
from testyard.index.engine import insert_for
from testyard.intake import audit
from testyard.intake import schema as intake
from testyard.intake.audit import Action
from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook, HookKind, of_pull_request, read_hook
from testyard.intake.hookfile import Command, commands_of
from testyard.intake.identity import Identity
from testyard.intake.policy import Right
from testyard.intake.projects import Project
from testyard.intake.statuses import Shown, Status, of_commit, of_request

log = logging.getLogger(__name__)

#: Seconds for which a delivery is tried again while its forge cannot be asked: a limit of GitHub's may last
#: an hour.
_PATIENCE = 6 * 3600.0
#: Seconds for which a delivery is remembered.
_REMEMBER = 30 * 86400.0
#: Seconds for which a delivery waits for its rate limit.
_LIMITED = 6 * 3600.0
_PASSED = (Shown.PASS, Shown.NEUTRAL)


class HookWork:
    """For one thread: its store is."""

    def __init__(self, hands: Hands) -> None:
        self._hands, self._order = hands, Order(hands)

    def handle(self, body: bytes) -> None:
        """Work on one message of `testyard-hooks`.

        Raises ResultError if it can never work, another TestyardError if it cannot be worked on now.
        """
        delivery = Delivery.from_bytes(body)
        if delivery.not_before > time.time():
            self._hands.later(body)
            return
        self._hands.ensure()
        if delivery.refused:
            self._note_refused(delivery)
            return
        if self._known(delivery):
            self._note(delivery, Action.HOOK, "it came before")
            return
        try:
            outcome = self._work(delivery)
        except ForgeError as error:
            if _passes(error) and time.time() - delivery.time < _PATIENCE:
                level = logging.DEBUG if error.unasked else logging.WARNING
                log.log(level, "%s %s: later: %s", delivery.forge, delivery.project, error.brief)
                self._put_off(delivery, error.brief)
                return
            self._note(delivery, Action.HOOK_REFUSED, error.brief)
            raise ResultError(f"{delivery.forge} {delivery.project}: {error.brief}") from error
        except RequestError as error:
            self._note(delivery, Action.HOOK_REFUSED, error.brief)
            raise ResultError(f"{delivery.forge} {delivery.project}: {error.brief}") from error
        except LimitError as error:
            self._put_off(delivery, error.brief, time.time() + error.retry_after)
            log.info("%s %s: later: %s", delivery.forge, delivery.project, error.brief)
            return
        except RefusedError as error:
            self._remember(delivery, Action.HOOK_REFUSED, str(error), error.who)
            return
        self._remember(delivery, Action.HOOK, outcome)

    def _put_off(self, delivery: Delivery, why: str, until: float = 0.0) -> None:
        """Have it come again; the audit log has a line about the first of many times."""
        if not delivery.waits:
            self._note(delivery, Action.HOOK, f"waits: {why}")
        self._hands.later(replace(delivery, waits=why, not_before=until).to_bytes())

    def forget_old(self) -> None:
        """Forget deliveries of more than 30 days ago."""
        self._hands.ensure()
        with index_errors(), self._hands.memory.begin() as memory:
            old = intake.delivery.c.received < time.time() - _REMEMBER
            memory.execute(delete(intake.delivery).where(old))
            forget_old(memory, time.time())

    def _work(self, delivery: Delivery) -> str:
        project = self._hands.projects().of(delivery.forge, delivery.project)
        if project is None:
            raise RefusedError("there is no such project any more")
        hook = read_hook(delivery)
        if hook is None:
            return "not relevant"
        if hook.kind is HookKind.COMMENTED:
            return self._obey(hook, delivery, project)
        if hook.kind is HookKind.RERUN:
            return self._rerun(hook, delivery, project, _hook_identity(hook))
        if hook.kind is HookKind.CLOSED:
            take_as_newest(self._hands.memory, hook, delivery)
            return self._end(hook, delivery, _hook_identity(hook), "the pull request was closed")
        if hook.added is None and hook.number and hook.forge in ("forgejo", "gitea"):
            hook = replace(hook, added=labels_given(self._hands.memory, hook, delivery))
        return self._ask(hook, delivery, project, _hook_identity(hook))

    def _ask(
        self,
        hook: Hook,
        delivery: Delivery,
        project: Project,
        who: Identity,
        command: Command | None = None,
    ) -> str:
        push = hook.kind is HookKind.UPDATED and not command
        if hook.kind is HookKind.PUSHED:  # older ones go on
            take_as_newest(self._hands.memory, hook, delivery)
        elif push:
            self._order.take_over(hook, delivery, project, who)
        else:
            self._order.refuse_old(hook, delivery)
        planned = self._plan(hook, delivery, project, who, command)
        if not planned:
            return "nothing is tested for it"
        outcome = self._submit(hook, delivery, planned, who)
        if push:  # another copy may have worked on another push meanwhile
            self._order.take_over(hook, delivery, project, who)
        return outcome

    def _plan(
        self, hook: Hook, delivery: Delivery, project: Project, who: Identity, command: Command | None
    ) -> tuple[Planned, ...]:
        trusted = not command or _is_hook(who)
        try:
            asks = asks_for(hook, delivery, project, self._hands.forges.of(project))
            planned = plan_for(self._hands.settings, asks, hook, delivery, commanded=command is not None)
            forced = tuple(
                replace(each, wish=replace(each.wish, force=command is not None)) for each in planned
            )
            if not trusted:  # what they say is shown to nobody unless it would be done
                trusted = self._allowed(forced, who)
            return chosen(forced, command)
        except RequestError as error:
            raise self._refused(hook, delivery, error.brief, show=trusted) from error
        except ForgeError as error:
            if _passes(error) and time.time() - delivery.time < _PATIENCE:
                raise
            reason = f"the tests' file cannot be read: {error.brief}"
            raise self._refused(hook, delivery, reason, show=trusted) from error

    def _allowed(self, planned: Sequence[Planned], who: Identity) -> bool:
        try:
            self._hands.gate.allow([each.wish for each in planned], who)
        except ForbiddenError:
            return False
        return True

    def _submit(self, hook: Hook, delivery: Delivery, planned: Sequence[Planned], who: Identity) -> str:
        gate = self._hands.gate
        wishes = [each.wish for each in planned]
        try:
            gate.allow(wishes, who)
            self._pay(who, planned)
            checked = gate.check(wishes).wishes
            made = self._hands.door.submit(checked, who, address=delivery.address)
        except ForbiddenError as error:
            raise self._refused(hook, delivery, error.brief, show=_is_hook(who)) from error
        except LimitError as error:
            if time.time() - delivery.time < _LIMITED:
                raise
            raise self._refused(hook, delivery, error.brief) from error
        except RequestError as error:
            raise self._refused(hook, delivery, error.brief) from error
        with index_errors(), self._hands.memory.begin() as memory:
            show_requests(memory, hook, zip(planned, made, strict=True))
        return f"{len(made)} requests"

    def _pay(self, who: Identity, planned: Sequence[Planned]) -> None:
        """Count them once, however often their delivery is worked on."""
        deed = f"paid/{planned[0].wish.request_id}"
        if not is_done(self._hands.memory, deed):
            self._hands.gate.admit(who, "", len(planned))
            note_done(self._hands.memory, deed, time.time())

    def _refused(self, hook: Hook, delivery: Delivery, reason: str, *, show: bool = True) -> RefusedError:
        if hook.head and show:
            with index_errors(), self._hands.memory.begin() as memory:
                show_problem(memory, hook, delivery, reason)
        return RefusedError(reason)

    def _obey(self, hook: Hook, delivery: Delivery, project: Project) -> str:
        commands = commands_of(hook.comment)
        if not commands:
            return "no command"
        who = self._commenter(hook, project)
        hook = replace(hook, member=_is_hook(who))
        if not hook.member:
            self._check_commands(commands, hook, who)
        if not hook.head and any(command.verb != "cancel" for command in commands):
            # GitHub, Forgejo and Gitea do not tell it with a comment
            pull = self._hands.forges.of(project).pull_request(hook.project, hook.number)
            full = of_pull_request(hook, pull)
            hook = replace(full, who=hook.who, member=hook.member)
        done = []
        for number, command in enumerate(commands):
            if command.verb == "cancel":
                done.append(self._cancel_once(number, hook, delivery, who))
            else:
                done.append(self._obey_one(command, hook, delivery, project, who))
        return "; ".join(done)

    def _cancel_once(self, number: int, hook: Hook, delivery: Delivery, who: Identity) -> str:
        """If the delivery is worked on again, what its later commands have asked for must go on."""
        deed = f"cancelled/{delivery.key}/{number}"
        if is_done(self._hands.memory, deed):
            return "cancelled before"
        outcome = self._end(hook, delivery, who, f"{hook.who} said /cancel")
        note_done(self._hands.memory, deed, time.time())
        return outcome

    def _commenter(self, hook: Hook, project: Project) -> Identity:
        """Who may push to the project may do there what its hook may; others what the policy gives them.

        Raises ForgeError. The hook says who belongs to an organisation, or was invited: perhaps to read.
        """
        forge = self._hands.forges.of(project)
        if hook.who and hook.member and (hook.owner or forge.may_push(hook.project, hook.who)):
            return _hook_identity(hook)
        return Identity(project.owner(hook.who), hook.who)

    def _check_commands(self, commands: Sequence[Command], hook: Hook, who: Identity) -> None:
        """Before anything is done for them: they may be anybody, and say it as often as they like."""
        if not hook.who:
            raise RefusedError("the forge does not say who wrote the comment")
        for command in commands:
            cancel = command.verb == "cancel"
            rights = (Right.CANCEL,) if cancel else (Right.REQUEST, Right.FORCE)
            if not all(self._hands.gate.may_some(who, right) for right in rights):
                deed = "cancel" if cancel else "request"
                raise RefusedError(f"{who.owner} may not {deed} tests here", who)

    def _obey_one(
        self, command: Command, hook: Hook, delivery: Delivery, project: Project, who: Identity
    ) -> str:
        if command.verb == "retest":
            return self._rerun(hook, delivery, project, who)
        hook = replace(hook, kind=HookKind.UPDATED)
        return self._ask(hook, delivery, project, who, command)

    def _rerun(self, hook: Hook, delivery: Delivery, project: Project, who: Identity) -> str:
        with index_errors(), self._hands.memory.connect() as memory:
            if hook.check:
                rows = [row for row in of_request(memory, hook.check) if _same_place(row, hook)]
            else:
                rows = list(of_commit(memory, hook.forge, hook.project, hook.head))
                rows = [row for row in rows if row.wanted.final and row.wanted not in _PASSED]
            found = [(row, wish) for row in rows if (wish := asked.again(memory, row.request_id))]
        planned = [
            Planned(
                replace(wish, request_id=derived_id(delivery, row.request_id)),
                row.context,
                {**place_of(hook), **row.place},
            )
            for row, wish in found
        ]
        if planned:
            self._refuse_moved(hook, delivery, planned)
            return self._submit(hook, delivery, planned, who)
        problems = [row for row in rows if row.context == CONTEXT and row.wanted is Shown.REJECTED]
        if problems:
            return self._ask_again(problems[0], hook, delivery, project, who)
        return "nothing is to run again"

    def _ask_again(self, row: Status, hook: Hook, delivery: Delivery, project: Project, who: Identity) -> str:
        """What could not be asked for when its delivery came."""
        number, ref = int(row.place.get("number") or 0), str(row.place.get("ref") or "")
        delivery = replace(delivery, query=str(row.place.get("query") or ""))
        if number:
            forge = self._hands.forges.of(project)
            full = of_pull_request(replace(hook, number=number), forge.pull_request(hook.project, number))
            if full.head != row.commit:
                raise RefusedError("it is not the newest commit of the pull request any more")
            again = replace(full, who=hook.who)
        else:
            if self._order.moved(hook, 0, ref):
                raise RefusedError("it is not the newest commit of the branch any more")
            branch = ref.removeprefix("refs/heads/")
            again = replace(hook, kind=HookKind.PUSHED, ref=ref, branch=branch)
        return self._ask(again, delivery, project, who)

    def _refuse_moved(self, hook: Hook, delivery: Delivery, planned: Sequence[Planned]) -> None:
        """An older commit of a pull request is superseded, and would be cancelled at once."""
        for each in planned:
            number, ref = int(each.place.get("number") or 0), str(each.place.get("ref") or "")
            if number and ref and (now := self._order.moved(hook, number, ref)):
                reason = f"{hook.head[:10]} cannot run again: {ref} is at {now[:10]} by now"
                raise self._refused(hook, delivery, reason)

    def _end(self, hook: Hook, delivery: Delivery, who: Identity, reason: str) -> str:
        return f"{self._order.end(hook, delivery, who, reason)} cancelled"

    def _known(self, delivery: Delivery) -> bool:
        query = select(intake.delivery.c.id).where(
            intake.delivery.c.forge == delivery.forge, intake.delivery.c.id == delivery.key
        )
        with index_errors(), self._hands.memory.connect() as memory:
            return memory.execute(query).first() is not None

    def _remember(
        self, delivery: Delivery, action: Action, outcome: str, refused: Identity | None = None
    ) -> None:
        values = {"forge": delivery.forge, "id": delivery.key, "received": delivery.time}
        with index_errors(), self._hands.memory.begin() as memory:
            memory.execute(
                insert_for(memory.dialect)(intake.delivery)
                .values(**values, outcome=limits.text(outcome))
                .on_conflict_do_nothing()
            )
            _record(memory, delivery, action, outcome, refused)

    def _note_refused(self, delivery: Delivery) -> None:
        """Nobody has signed it: such lines are few, whoever sends how many."""
        more = {"left_out": delivery.left_out} if delivery.left_out else {}
        details = {"event": delivery.event, "delivery": delivery.id, "outcome": delivery.refused, **more}
        who = Identity(f"hook/{delivery.forge}/?", "")
        with index_errors(), self._hands.memory.begin() as memory:
            audit.record_refusal(memory, Action.HOOK_REFUSED, who, address=delivery.address, **details)

    def _note(self, delivery: Delivery, action: Action, outcome: str) -> None:
        with index_errors(), self._hands.memory.begin() as memory:
            _record(memory, delivery, action, outcome)


def _record(
    memory: Connection, delivery: Delivery, action: Action, outcome: str, refused: Identity | None = None
) -> None:
    details: dict[str, Any] = {"event": delivery.event, "delivery": delivery.id, "outcome": outcome}
    if delivery.left_out:
        details["left_out"] = delivery.left_out
    if refused is not None:  # anybody may say anything, as often as they like
        audit.record_refusal(
            memory, action, refused, address=delivery.address, project=delivery.project, **details
        )
        return
    who = Identity(f"hook/{delivery.forge}/{delivery.project or '?'}", "")
    audit.record(memory, action, who, address=delivery.address, **details)


def _hook_identity(hook: Hook) -> Identity:
    return Identity(f"hook/{hook.forge}/{hook.project}", hook.who or hook.project)


def _is_hook(who: Identity) -> bool:
    """True if they may do what the project's hook may."""
    return who.owner.startswith("hook/")


def _same_place(row: Status, hook: Hook) -> bool:
    return (row.forge, row.project) == (hook.forge, hook.project)


def _passes(error: ForgeError) -> bool:
    """True if it may work later by itself."""
    return not (error.lasting or error.refused)
