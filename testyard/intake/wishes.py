# SPDX-License-Identifier: AGPL-3.0-or-later
"""What somebody asks for, made into one wish for each queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from testyard.errors import RequestError
from testyard.intake.submit import Wish
from testyard.queue import DEFAULT_CONTEXT, QueueName
from testyard.request import TestRequest, make_request
from testyard.settings import Settings


def wishes_of(
    settings: Settings,
    package: str,
    parameters: Mapping[str, Any],
    *,
    release: str | None = None,
    architectures: Iterable[str] | None = None,
    context: str | None = None,
    force: bool = False,
    subject: str = "",
) -> tuple[Wish, ...]:
    """A wish for each architecture, each once, in the order in which they are named.

    Without ``architectures``: all on which the release is tested; without ``release``: the only one that
    is configured. Raises RequestError naming the field: ``release``, ``arch``, ``context``, or the
    parameter's key.
    """
    request = make_request(package, {**parameters, "uuid": None})
    release = _release(settings, release)
    names = _architectures(settings, release, architectures)
    context = context or usual_context(request)
    _known("context", context, settings.topology.contexts)
    wanted = {key: value for key, value in parameters.items() if key != "uuid"}
    return tuple(
        Wish(QueueName(context, release, name), request.package, wanted, force=force, subject=subject)
        for name in names
    )


def usual_context(request: TestRequest) -> str:
    """Where a request waits for which no context is named."""
    # a project's hook names an archive too, and waits with the other projects
    if request.from_git:
        return "upstream"
    return "ppa" if request.ppas else DEFAULT_CONTEXT


def _release(settings: Settings, wanted: str | None) -> str:
    known = settings.topology.releases
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        raise RequestError("release", f"needed; one of: {', '.join(known) or 'none is configured'}")
    _known("release", wanted, known)
    return wanted


def _architectures(settings: Settings, release: str, wanted: Iterable[str] | None) -> tuple[str, ...]:
    topology = settings.topology
    usual = tuple(name for name in topology.architectures if topology.allows(release, name))
    names = usual if wanted is None else tuple(dict.fromkeys(wanted))
    if not names:
        raise RequestError("arch", f"at least one is needed; there is: {', '.join(usual)}")
    for name in names:
        if name in topology.architectures and name not in usual:
            raise RequestError("arch", f"{release} is not tested on {name}; on: {', '.join(usual)}")
        _known("arch", name, usual)
    return names


def _known(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        shown = f"{value[:80]!r} is not configured"
        raise RequestError(field, f"{shown}; there is: {', '.join(known) or 'none'}")
