# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command with which a developer runs a test again: autopkgtest's own, with nothing of the worker in it.

No path of the worker's, no credentials. What a worker does by files of its own (archives) stands in
it as commands that any testbed understands.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from testyard import fields
from testyard.errors import RequestError, ResultError
from testyard.secrets import MASK

#: Beginning of the option that sets a variable, ``NAME=value``.
ENV = "--env="
#: Beginnings of the options that `recipe` takes.
_OURS = (
    "--needs-internet=",
    "--architecture=",
    "--apt-pocket=",
    "--apt-upgrade",
    "--timeout-",
    ENV,
    "--testname=",
    "--setup-commands=",  # in the testbed
    "--no-built-binaries",
)
#: Options that change a testbed's packages: of no use, or harmful, on a machine that stays.
_CHANGING = ("--apt-", "--setup-commands", "--add-apt-", "--pin-packages")


def archive_option(urls: Sequence[str], release: str, component: str) -> str:
    """An option that gives a testbed these archives; a private one's credentials are left to the developer.

    They are trusted by their address: the keys are files of the worker's.
    """
    lines = [
        f"{kind} [trusted=yes] {url} {release} {component}" for url in urls for kind in ("deb", "deb-src")
    ]
    words = " ".join(shlex.quote(line) for line in lines)
    return f"--setup-commands=printf '%s\\n' {words} > /etc/apt/sources.list.d/testyard.list"


def testbed_words(kind: str, release: str, architecture: str) -> tuple[str, ...]:
    """A testbed as a result names it (``qemu/kvm``), with what autopkgtest's own tools make for its kind.

    Of `needing_another` and of unknown ones what says which it was.
    """
    kind = kind.partition("/")[0]
    unshare = ("unshare", f"--release={release}", f"--arch={architecture}")
    known = {
        "unshare": unshare,
        "chroot": unshare,  # the same root trees, for machines whose autopkgtest has no unshare
        "schroot": ("schroot", f"{release}-{architecture}-sbuild"),
        "qemu": ("qemu", f"autopkgtest-{release}-{architecture}.img"),
        "lxd": ("lxd", f"testyard/{release}/{architecture}"),
    }
    return known.get(kind, (kind,))


def needing_another(testbed: Sequence[str]) -> str:
    """Why a developer has to name another testbed than the run's; empty if its words say all."""
    match testbed[0]:
        case "null":
            return "the run had no testbed but the machine itself"
        case "ssh":
            return "the run was on a machine of the operator's, reached by ssh"
        case "openstack":
            return "the run was in an instance of the operator's cloud"
        case "lxd":
            return f"the run's image, {testbed[-1]}, is on the worker's LXD server"
    return ""


testbed_words.__test__ = False  # type: ignore[attr-defined]  # its name begins with test; not a test


def recipe(line: str, release: str, architecture: str) -> tuple[str, ...]:
    """The words of a stored line; none if it is empty.

    Raises ResultError if it is not what a worker writes: it may come from a stranger, and is to be run.
    """
    try:
        words = shlex.split(line)
        if not words:
            return ()
        cut = words.index("--")
        program, *options, source = words[:cut]
        kind, *arguments = words[cut + 1 :]
        fields.git_url("source", source) if "://" in source else fields.package_name(source.removesuffix("/"))
    except (ValueError, IndexError, RequestError) as error:
        raise ResultError(f"the result's command cannot be read: {line[:200]!r}") from error
    place = testbed_words(kind, release, architecture)
    # a word alone: what workers wrote of qemu/kvm, chroot
    known = tuple(arguments) == place[1:] or not arguments
    if (
        program != "autopkgtest"
        or not all(option.startswith(_OURS) for option in options)
        or not (known and line.isprintable() and place[0].isalnum())
    ):
        raise ResultError(f"the result's command is none that Testyard writes: {line[:200]!r}")
    return (*words[: cut + 1], *place)


def in_testbed(command: Sequence[str], testbed: Sequence[str]) -> tuple[str, ...]:
    """The command with another testbed; on the machine itself (``null``) without what would change it."""
    options = list(command[: command.index("--")]) if "--" in command else list(command)
    if testbed[0] == "null":
        options = [option for option in options if not option.startswith(_CHANGING)]
    return (*options, "--", *testbed)


def masked_names(command: Sequence[str]) -> tuple[str, ...]:
    """The variables whose values are secret, and so are not in the command."""
    end = f"={MASK}"
    options = [option for option in command if option.startswith(ENV) and option.endswith(end)]
    return tuple(dict.fromkeys(option.removeprefix(ENV).removesuffix(end) for option in options))


def with_values(command: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """The command with these values in place of masks; masked variables without a value are left out."""
    masks = {f"{ENV}{name}={MASK}": name for name in masked_names(command)}
    return tuple(
        f"{ENV}{masks[word]}={values[masks[word]]}" if word in masks else word
        for word in command
        if word not in masks or masks[word] in values
    )


def with_source(command: Sequence[str], package: str, source: str) -> tuple[str, ...]:
    """The command with a ``.dsc`` file in place of the archive's package; binaries stay the archive's."""
    place = command.index("--") - 1 if "--" in command else len(command) - 1
    if command[place] != package:
        return tuple(command)
    return (*command[:place], "--no-built-binaries", source, *command[place + 1 :])
