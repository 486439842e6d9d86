# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard reproduce``: run a test again on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from testyard.cli.edge import (
    JsonOption,
    StateOption,
    UsageError,
    command_settings,
    explained,
    print_json,
    say,
)
from testyard.cli.reference import canonical, canonical_path, find
from testyard.client import SiteClient
from testyard.errors import TestyardError
from testyard.reproduce import (
    in_testbed,
    masked_names,
    needing_another,
    recipe,
    testbed_words,
    with_source,
    with_values,
)
from testyard.result import UNKNOWN, Result, read_result_tar
from testyard.run import outcome_of

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Request id, run id, path of a run, or its page's address, also elsewhere."
    ),
]
#: Where autopkgtest's unshare looks for root trees, below the home folder.
_TREES = ".cache/sbuild"
_MAKE_TREE = (
    "mmdebstrap --variant=apt --include=dpkg-dev,ca-certificates,passwd,adduser "
    "--skip=cleanup/apt/lists {release} ~/.cache/sbuild/{release}-{architecture}.tar"
)
_MAKE_IMAGE = (
    "sudo autopkgtest-build-qemu --architecture={architecture} {release} {file}; "
    "one of Ubuntu: autopkgtest-buildvm-ubuntu-cloud -r {release} -a {architecture}"
)
_OTHERS = (
    "Name one: --testbed unshare; or --testbed 'lxd IMAGE' (autopkgtest-build-lxd makes one, "
    "autopkgtest/DISTRIBUTION/RELEASE/ARCHITECTURE); or --testbed null, with which the test may do all "
    "you may."
)


@dataclass(frozen=True)
class Again:
    """What is to be run, and what of the run cannot be the same."""

    package: str
    command: tuple[str, ...]
    exit_code: int
    release: str
    architecture: str
    version: str
    notes: tuple[str, ...]

    @property
    def testbed(self) -> tuple[str, ...]:
        """The testbed's kind and its arguments."""
        return self.command[self.command.index("--") + 1 :]


@explained
def reproduce(
    run: RunArgument,
    testbed: Annotated[
        str | None,
        typer.Option(
            metavar="'KIND ARGUMENT…'",
            help="Another testbed, as autopkgtest takes it; else the run's.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Give the test this secret variable, with its value in the environment here; repeatable.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and do not run it.")] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Run a test again on this machine with autopkgtest, as it was run; ends with autopkgtest's exit code."""
    again = _again(run, state, shlex.split(testbed) if testbed else [])
    values = _values(again.command, env or [])
    notes = [*again.notes, *_not_given(again.command, values)]
    if json_:
        print_json({"command": again.command, "line": shlex.join(again.command), "notes": notes})
        return
    for note in notes:
        say(f"Note: {note}.", style="yellow")
    if dry_run:
        typer.echo(shlex.join(again.command))
        return
    _check(again)
    with tempfile.TemporaryDirectory(prefix="testyard-") as folder, _source(again, Path(folder)) as command:
        say(shlex.join(command), style="bold")
        code = subprocess.run(with_values(command, values), check=False).returncode
    same = "as the run did" if code == again.exit_code else f"the run ended with {again.exit_code}"
    say(f"autopkgtest ended with {code} ({outcome_of(code)}), {same}.", style="bold")
    raise typer.Exit(code)


def _again(reference: str, state: Path | None, testbed: list[str]) -> Again:
    """What is known of a run. Raises TestyardError, UsageError."""
    address, name = _place(reference, state)
    with SiteClient(address) as site:
        found = find(site, name)
        if found.run is None:
            raise TestyardError(
                f"{reference} has no result yet.", resolution=f"See how it is: testyard show {reference}"
            )
        run = found.run
        result = read_result_tar(site.content(run["urls"]["result"]))
    release, architecture = str(run["release"]), str(run["architecture"])
    notes = _notes(result)
    # the site may be anybody's: what it sends is a command only if it is one that we would write
    words = recipe(result.reproduce, release, architecture) or _from_little(result, release, architecture)
    if testbed == ["unshare"]:
        testbed = list(testbed_words("unshare", release, architecture))
    if testbed:
        words = in_testbed(words, testbed)
    elif why := needing_another(words[words.index("--") + 1 :]):
        raise UsageError(f"--testbed: needed, as {why}", resolution=_OTHERS)
    return Again(result.source, words, result.exit_code, release, architecture, result.version, notes)


def _values(command: tuple[str, ...], names: list[str]) -> dict[str, str]:
    """Secret variables as the environment has them, of those that are asked for by name.

    Only of those: the site may be anybody's, and what it names goes to the test. Raises UsageError.
    """
    hidden = masked_names(command)
    for name in names:
        if name not in hidden:
            known = f"Those of this run: {', '.join(hidden)}." if hidden else "This run has none."
            raise UsageError(f"--env: {name} is no variable whose value is secret", resolution=known)
        if name not in os.environ:
            raise UsageError(
                f"--env: {name} is not set in the environment here", resolution=f"export {name}=…"
            )
    return {name: os.environ[name] for name in names}


def _not_given(command: tuple[str, ...], values: dict[str, str]) -> list[str]:
    """A note for each variable that the test goes without."""
    return [
        f"the value of {name} is secret and not in the result, so the test goes without it; "
        f"to give it: export {name}=… and add --env {name}"
        for name in masked_names(command)
        if name not in values
    ]


def _place(reference: str, state: Path | None) -> tuple[str, str]:
    """The site's address, and the run's name there: an address names its own site."""
    if reference.startswith(("http://", "https://")):
        parts = urlsplit(reference)
        if not (found := canonical_path(parts.path)):
            settings = command_settings(state)  # an address in the store, whose site the settings name
            return settings.site.url, canonical(reference, settings)
        return f"{parts.scheme}://{parts.netloc}", found
    settings = command_settings(state)
    return settings.site.url, canonical(reference, settings)


def _from_little(result: Result, release: str, architecture: str) -> tuple[str, ...]:
    """A command for a result of an older system, or of a run that never began."""
    environment = result.testinfo.get("custom_environment")
    items = environment if isinstance(environment, list) else []
    options = ["--apt-upgrade", *(f"--env={item}" for item in items)]
    return ("autopkgtest", *options, result.source, "--", *testbed_words("unshare", release, architecture))


def _notes(result: Result) -> tuple[str, ...]:
    """What cannot be the same, each without a full stop."""
    words = shlex.split(result.reproduce)
    found = []
    if not words:
        found.append("the result does not tell how it was made; its pockets and archives are not known")
    if any("[trusted=yes]" in word for word in words):
        found.append("the archives beside the release's are trusted by their address here, not by their keys")
    if result.testbed_packages:
        found.append(
            f"the testbed had {len(result.testbed_packages)} packages of its day (testbed-packages in "
            "result.tar), yours has those of today"
        )
    return tuple(found)


def _check(again: Again) -> None:
    """Raises TestyardError if this machine lacks what the command needs."""
    if shutil.which("autopkgtest") is None:
        raise TestyardError("There is no autopkgtest here.", resolution="apt install autopkgtest")
    kind, *arguments = again.testbed
    usual = list(testbed_words("unshare", again.release, again.architecture)[1:])
    if kind == "unshare" and arguments == usual:
        trees = Path.home() / _TREES
        if not list(trees.glob(f"{again.release}-{again.architecture}.t*")):
            make = _MAKE_TREE.format(release=again.release, architecture=again.architecture)
            raise TestyardError(
                f"There is no root tree for {again.release} {again.architecture} in ~/{_TREES}.",
                resolution=f"Make one: mkdir -p ~/{_TREES} && {make}\n"
                "Or name another testbed: --testbed 'lxd IMAGE'",
            )
    if again.testbed == testbed_words("qemu", again.release, again.architecture):
        file = again.testbed[-1]
        if not Path(file).exists():
            make = _MAKE_IMAGE.format(release=again.release, file=file, architecture=again.architecture)
            raise TestyardError(
                f"There is no image {file} in this folder.",
                resolution=f"Make one: {make}\nOr name another testbed: --testbed unshare",
            )
    if kind == "null":
        say("Testbed null: the test runs on this machine itself, unprotected.", style="yellow")


@contextmanager
def _source(again: Again, folder: Path) -> Iterator[tuple[str, ...]]:
    """The command with the very version of the source package that was tested, if apt here has it."""
    command = again.command
    plain = with_source(command, again.package, "x") != command
    if not plain or again.version == UNKNOWN:
        yield command
        return
    fetch = ["apt-get", "source", "--download-only", "--only-source", f"{again.package}={again.version}"]
    done = subprocess.run(
        [*fetch, "-qq"], cwd=folder, env={**os.environ, "LC_ALL": "C.UTF-8"}, capture_output=True, check=False
    )
    files = sorted(folder.glob("*.dsc"))
    if done.returncode == 0 and files:
        yield with_source(command, again.package, str(files[0]))
        return
    say(
        f"Note: apt here has no source package {again.package} {again.version}; the testbed's is tested.",
        style="yellow",
    )
    yield command
