# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a request on the command line may ask for here; all that is wrong is told before it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from testyard.cli.edge import UsageError, say
from testyard.errors import RequestError, SettingsError
from testyard.queue import DEFAULT_CONTEXT, QueueName
from testyard.request import MIGRATION_REFERENCE, TestRequest, make_request
from testyard.settings import Settings

#: A body's field → what it is called on the command line, and an example of its form.
_OPTIONS = {
    "package": ("PACKAGE", "Name a source package: gzip"),
    "triggers": ("--trigger", "Write source package and version: --trigger gzip/1.12-1"),
    "ppas": ("--ppa", "Write owner and name: --ppa owner/name"),
    "env": ("--env", "Write name and value: --env DEB_BUILD_OPTIONS=nocheck"),
    "testname": ("--testname", "Write the test's name as in debian/tests/control: --testname smoke"),
    "test-git": ("--test-git", "Write its address, and a branch after #: https://host/project.git#branch"),
    "build-git": ("--build-git", "Write its address, and a branch after #: https://host/project.git#branch"),
    "readable-by": ("--readable-by", "Write the name of a person or team."),
    "swiftuser": ("--swiftuser", "Write the store account that may read the result."),
    "requester": ("--requester", "Write one line."),
    "release": ("--release", ""),
    "architecture": ("--arch", ""),
}


def checked_request(package: str, parameters: Mapping[str, Any]) -> TestRequest:
    """The request. Raises UsageError naming the option that is wrong."""
    try:
        return make_request(package, parameters)
    except RequestError as error:
        option, example = _OPTIONS.get(error.field, (error.field, ""))
        raise UsageError(f"{option}: {error.problem}", resolution=example) from error


def check_names_differ(variables: Iterable[str]) -> None:
    """Raises UsageError if a variable is given twice: only one of the two could count."""
    seen: set[str] = set()
    for name in (item.partition("=")[0] for item in variables):
        if name in seen:
            raise UsageError(f"--env: {name!r} is given twice", resolution="Give each variable once.")
        seen.add(name)


def chosen_queues(
    settings: Settings,
    context: str | None,
    release: str | None,
    architectures: Iterable[str] | None,
    request: TestRequest,
) -> tuple[QueueName, ...]:
    """The queues of a request, each once. Raises UsageError for one that is not configured."""
    topology = settings.topology
    if not topology.releases or not topology.architectures:
        raise SettingsError(
            "--release: needed, as none is configured",
            resolution="Start an instance (testyard local up), or name a settings file in TESTYARD_CONFIG.",
        )
    if release is None and len(topology.releases) != 1:
        raise UsageError(f"--release: needed, as there are {', '.join(topology.releases)}")
    release = release if release is not None else topology.releases[0]
    usual = [name for name in topology.architectures if topology.allows(release, name)]
    names = tuple(dict.fromkeys(architectures or usual))
    context = context if context is not None else _usual_context(request)
    _known("--release", release, topology.releases)
    for name in names:
        _known("--arch", name, topology.architectures)
        if not topology.allows(release, name):
            raise UsageError(f"--arch: {release} is not tested on {name}; on: {', '.join(usual)}")
    _known("--context", context, topology.contexts)
    return tuple(QueueName(context, release, name) for name in names)


def _usual_context(request: TestRequest) -> str:
    if request.test_git or request.build_git:
        return "upstream"
    return "ppa" if request.ppas else DEFAULT_CONTEXT


def note_pocket(settings: Settings, request: TestRequest) -> None:
    """Say on stderr what changes nothing where the archive has no pocket for proposed packages."""
    if settings.worker.proposed_pocket:
        return
    nothing = "there is no proposed pocket here (worker.proposed_pocket is empty, as on Debian)"
    if request.all_proposed:
        say(f"Note: --all-proposed changes nothing: {nothing}.", style="yellow")
    if MIGRATION_REFERENCE in request.triggers:
        say(f"Note: every run is a reference run: {nothing}.", style="yellow")
    elif request.triggers:
        say(f"Note: triggers are told to the test, but nothing of them is installed: {nothing}.", style="dim")


def _known(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option}: {value!r} is not configured; there is: {', '.join(known)}")
