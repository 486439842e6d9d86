# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's command line for a request, in the order that the older worker used."""

from __future__ import annotations

from testyard.errors import RequestError
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.settings import Timeouts, Worker
from worker import process
from worker.testbed.base import Command, Testbed


def knows_ppas() -> bool:
    """True if this machine's autopkgtest takes ``ppa:owner/name`` as an archive; Debian 12's does not."""
    # its help ends with status 20 in Debian 12
    return "ppa:" in process.run(["autopkgtest", "--help"], codes=(0, 20))


def check_archives(request: TestRequest, *, ppas_known: bool) -> None:
    """Refuse archives that this worker's autopkgtest cannot add. Raises RequestError."""
    if request.ppas and not ppas_known:
        raise RequestError("ppas", "the worker's autopkgtest knows no ppa: archives")


def check_runnable(request: TestRequest) -> None:
    """Refuse what no worker can run. Raises RequestError naming the field.

    An archive's credentials would stand in autopkgtest's arguments, hence in ``ps`` and the log.
    """
    if any("@" in ppa for ppa in request.ppas):
        raise RequestError("ppas", "archives with credentials are not supported")


def build_command(
    request: TestRequest, queue: QueueName, settings: Worker, testbed: Testbed, limits: Timeouts
) -> Command:
    """Options, in order: archives, pocket, upgrade, time limits, environment, one test."""
    return Command(
        release=queue.release,
        architecture=queue.architecture,
        package=request.package,
        options=(
            *(_archive_options(request, settings) if testbed.disposable else ()),
            *_timeouts(limits),
            *(f"--env={item}" for item in request.env),
            *([f"--env=ADT_TEST_TRIGGERS={' '.join(request.triggers)}"] if request.triggers else []),
            *([f"--testname={request.testname}"] if request.testname else []),
        ),
        git_source=_git_source(request),
    )


def _archive_options(request: TestRequest, settings: Worker) -> list[str]:
    options = [f"--add-apt-source=ppa:{ppa}" for ppa in request.ppas]
    pocket = settings.proposed_pocket
    wants_pocket = not request.test_git and (not request.ppas or request.all_proposed)
    if pocket and wants_pocket:
        if request.all_proposed:
            options.append(f"--apt-pocket={pocket}")
        elif request.trigger_sources:
            sources = ",".join(f"src:{source}" for source in request.trigger_sources)
            options.append(f"--apt-pocket={pocket}={sources}")
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
