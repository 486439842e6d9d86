# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a stored run was asked for, so that the same can be asked for again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from testyard.errors import RequestError, ResultError
from testyard.index import RunRow
from testyard.index.read import find_request, find_runs
from testyard.intake.schema import asked
from testyard.intake.submit import Wish
from testyard.intake.wishes import usual_context
from testyard.queue import DEFAULT_CONTEXT, URGENT, QueueName
from testyard.reproduce import recipe
from testyard.request import TestRequest, make_request, parse_body
from testyard.secrets import MASK, has_secrets
from testyard.store import container_name, is_private

#: Keys of a request that are of one asking, not of what is asked for.
_OF_ONE_ASKING = ("uuid", "requester", "submit-time")


def wish_again(
    memory: Connection, index: Connection, run: RunRow, *, owner: str | None = None, force: bool = False
) -> Wish:
    """A wish for what the run was asked for, by ``owner`` if one is named: same queue, same parameters.

    Best is the body that came through a door of ours; else what its request's events told; else what the
    result tells, of a run without archives and repositories of its own. Raises RequestError (``run``) if
    that is not all, or had secrets that are not kept, or are another's.
    """
    if is_private(run.container):
        raise RequestError("run", "it is private: nothing of it is known here; ask for it anew")
    queue, package, parameters = (
        _of_door(memory, run, owner) or _of_events(index, run) or _of_result(_whole(index, run))
    )
    wanted = what_is_asked(parameters)
    if MASK in json.dumps(wanted):
        raise RequestError("run", "it had secrets, which are not kept; ask for it anew and give them again")
    request = make_request(package, wanted)
    if queue.context == URGENT:  # so was that asking, not what was asked for
        queue = replace(queue, context=usual_context(request))
    return Wish(queue, package, wanted, force=force)


def what_is_asked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A request's parameters without those that are of one asking only."""
    return {key: value for key, value in parameters.items() if key not in _OF_ONE_ASKING}


_Found = tuple[QueueName, str, Mapping[str, Any]]


def check_secrets(parameters: Mapping[str, Any], whose: str, owner: str | None) -> None:
    """Raises RequestError if ``owner`` must not use them: they are secrets of somebody else."""
    if owner is not None and owner != whose and has_secrets(parameters):
        raise RequestError("run", "it had secrets of whoever asked; ask for it anew with your own")


def _of_door(memory: Connection, run: RunRow, owner: str | None) -> _Found | None:
    columns = asked.c.queue, asked.c.body, asked.c.owner
    row = memory.execute(select(*columns).where(asked.c.request_id == (run.request_id or ""))).first()
    if row is None:
        return None
    request: TestRequest = parse_body(row.body)
    check_secrets(request.parameters, row.owner, owner)
    return QueueName.parse(row.queue), request.package, request.parameters


def _of_events(index: Connection, run: RunRow) -> _Found | None:
    row = find_request(index, run.request_id or "")
    if row is None or not row.parameters or not row.queue:
        return None
    return row.queue_name, row.package, row.parameters


def _of_result(run: RunRow) -> _Found:
    queue = QueueName(DEFAULT_CONTEXT, run.release, run.architecture)
    if run.container != container_name(run.release):
        raise RequestError(
            "run", "which archives it was asked for with is not known any more; ask for it anew"
        )
    try:
        words = recipe(str(run.facts.get("reproduce", "")), run.release, run.architecture)
    except ResultError:
        words = ()
    source = words[words.index("--") - 1] if "--" in words else run.source
    if source.removesuffix("/") != run.source:
        raise RequestError("run", "it was of a repository, which is not known any more; ask for it anew")
    prefix = "--env="
    env = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    tests = [word.partition("=")[2] for word in words if word.startswith("--testname=")]
    parameters: dict[str, Any] = {
        "triggers": list(run.triggers),
        **(
            {"env": kept}
            if (kept := [item for item in env if not item.startswith("ADT_TEST_TRIGGERS=")])
            else {}
        ),
        **({"testname": tests[0]} if tests else {}),
        **({"all-proposed": "1"} if "--apt-pocket=proposed" in words else {}),
    }
    return queue, run.source, parameters


def _whole(index: Connection, run: RunRow) -> RunRow:
    """The run with its facts, which lists leave out."""
    found = [row for row in find_runs(index, str(run.path)) if row.container == run.container]
    return found[0] if found else run
