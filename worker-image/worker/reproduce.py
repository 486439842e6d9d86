# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command that a result carries, from the one that the worker runs."""

from __future__ import annotations

import shlex

from testyard.reproduce import ENV, archive_option, testbed_words
from testyard.request import TestRequest
from testyard.secrets import masked_variable
from testyard.settings import Worker
from worker.archives import PLACE
from worker.command import POCKET_CHECK
from worker.testbed.base import Command


def line_of(command: Command, request: TestRequest, settings: Worker, testbed: str) -> str:
    """A line for a shell, with secret variables masked; see `testyard.reproduce`."""
    options = []
    for option in command.options:
        if option.startswith(f"--setup-commands=sh {PLACE}/"):
            urls = [settings.archives.address(ppa) for ppa in request.archives]
            options.append(archive_option(urls, command.release, settings.archives.component))
        elif option.startswith(ENV):
            options.append(ENV + masked_variable(option.removeprefix(ENV)))
        elif not option.startswith(("--copy=", f"--setup-commands={POCKET_CHECK}")):
            options.append(option)
    local = settings.source_dir is not None and (settings.source_dir / request.package).is_dir()
    source = ("--no-built-binaries", f"{request.package}/") if local else (request.package,)
    place = testbed_words(testbed, command.release, command.architecture)
    return shlex.join(["autopkgtest", *options, *(command.git_source or source), "--", *place])
