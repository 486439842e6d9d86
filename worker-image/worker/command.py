# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's command line for a request, in the order that the older worker used."""

from __future__ import annotations

from pathlib import Path

from testyard.errors import LastingTestbedError, RequestError
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.settings import Timeouts, Worker
from worker import process
from worker.archives import PLACE
from worker.testbed.base import Command, Testbed

#: autopkgtest 5.28 adds no pocket to sources in deb822 form, and does not say so.
POCKET_CHECK = "grep -rqse "
_POCKET_CHECK = (
    POCKET_CHECK + "'-{pocket}' /etc/apt/sources.list /etc/apt/sources.list.d || "
    "{{ echo 'testyard: no pocket {pocket}: autopkgtest cannot read the testbed sources'; exit 1; }}"
)


def knows_foreign() -> bool:
    """True if this machine's autopkgtest tests foreign architectures; Debian 12's does not."""
    # its help ends with status 20 in Debian 12
    return "--architecture" in process.run(["autopkgtest", "--help"], codes=(0, 20))


def check_runnable(request: TestRequest) -> None:
    """Refuse what no worker can run. Raises RequestError naming the field."""
    if request.parameters.get("test-bzr"):
        raise RequestError("test-bzr", "Bazaar branches cannot be tested; use test-git or build-git")


def build_command(
    request: TestRequest,
    queue: QueueName,
    settings: Worker,
    testbed: Testbed,
    limits: Timeouts,
    *,
    archives: Path | None = None,
) -> Command:
    """Options, in order: archives, pocket, upgrade, time limits, environment, one test.

    ``archives`` is the folder that `worker.archives` made for a request that names some.

    Raises LastingTestbedError if autopkgtest here is too old for what the settings ask of it.
    """
    home = settings.foreign.get(queue.architecture, queue.architecture)
    if home != queue.architecture and not knows_foreign():
        raise LastingTestbedError(
            f"autopkgtest here cannot test {queue.architecture} in testbeds of {home}",
            resolution="Take one that knows --architecture, or take the architecture out of worker.foreign.",
        )
    return Command(
        release=queue.release,
        architecture=home,
        package=request.package,
        options=(
            *(["--needs-internet=skip"] if queue.architecture in settings.offline else []),
            *([f"--architecture={queue.architecture}"] if home != queue.architecture else []),
            *(_archive_options(request, settings, archives) if testbed.disposable else ()),
            *_timeouts(limits),
            *(f"--env={item}" for item in request.env),
            *([f"--env=ADT_TEST_TRIGGERS={' '.join(request.triggers)}"] if request.triggers else []),
            *([f"--testname={request.testname}"] if request.testname else []),
        ),
        git_source=_git_source(request),
    )


def _archive_options(request: TestRequest, settings: Worker, archives: Path | None) -> list[str]:
    options = []
    if archives is not None:
        options = [f"--copy={archives}:{PLACE}", f"--setup-commands=sh {PLACE}/install"]
    pocket = settings.proposed_pocket
    wants_pocket = not request.test_git and (not request.ppas or request.all_proposed)
    if pocket and wants_pocket:
        if request.all_proposed:
            options.append(f"--apt-pocket={pocket}")
        elif request.trigger_sources:
            sources = ",".join(f"src:{source}" for source in request.trigger_sources)
            options.append(f"--apt-pocket={pocket}={sources}")
        if options and options[-1].startswith("--apt-pocket"):
            options.append(f"--setup-commands={_POCKET_CHECK.format(pocket=pocket)}")
    return [*options, "--apt-upgrade"]


def _timeouts(limits: Timeouts) -> list[str]:
    pairs = (
        ("short", limits.short),
        ("install", limits.install),
        ("test", limits.test),
        ("copy", limits.copy_files),
        ("build", limits.build),
    )
    return [f"--timeout-{name}={seconds}" for name, seconds in pairs]


def _git_source(request: TestRequest) -> tuple[str, ...]:
    if request.test_git:
        return ("--no-built-binaries", request.test_git)
    return (request.build_git,) if request.build_git else ()
