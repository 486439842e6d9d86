# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request's archives as files for the testbed's apt.

Debian 12's autopkgtest knows no ``ppa:``, and where it is known it wants credentials as an argument, for
all of the machine to read. So sources, keys and credentials are files, copied into the testbed, and a
script there puts them into apt's places and tells what is wrong with an archive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from testyard.archives import Archives
from testyard.errors import CancelledRun, TestbedError
from testyard.ppa import Ppa
from worker.aptkeys import key_of

#: Where they are in the testbed until the script has put them into place.
PLACE = "/run/testyard-archives"
_SCRIPT = Path(__file__).with_name("archives.sh")


def write_archives(
    folder: Path, ppas: Sequence[Ppa], release: str, settings: Archives, cancelled: Callable[[], bool]
) -> None:
    """Make ``folder`` with all that the testbed needs to use the archives.

    Raises RequestError if an archive has no key, TestbedError if a key cannot be fetched, OSError;
    CancelledRun if ``cancelled`` says true before a key is fetched.
    """
    keys = []
    for ppa in ppas:
        if cancelled():  # servers that are slow take 40 s for one
            raise CancelledRun("the worker was told to stop")
        keys.append(_key(ppa, settings))
    folder.mkdir(mode=0o700)
    for number, (ppa, key) in enumerate(zip(ppas, keys, strict=True)):
        name = f"testyard-{number}"
        (folder / f"{name}.gpg").write_bytes(key)
        (folder / f"{name}.sources").write_text(_source(ppa, release, settings, f"{name}.gpg"))
    logins = "".join(_login(ppa, settings) for ppa in ppas if not ppa.public)
    if logins:
        secret = folder / "auth.conf"
        secret.touch(mode=0o600)
        secret.write_text(logins)
    (folder / "install").write_text(_SCRIPT.read_text())


def _key(ppa: Ppa, settings: Archives) -> bytes:
    try:
        return key_of(ppa, settings)
    except TestbedError as error:
        brief = f"archive {ppa} cannot be used: its key is not to be had: {error.brief}"
        raise type(error)(brief, details=error.details, resolution=error.resolution) from error


def _source(ppa: Ppa, release: str, settings: Archives, key: str) -> str:
    # in this form also because autopkgtest makes a proposed pocket of every line of the other
    return (
        f"# {ppa}\nTypes: deb deb-src\nURIs: {settings.address(ppa)}\nSuites: {release}\n"
        f"Components: {settings.component}\nSigned-By: /etc/apt/keyrings/{key}\n"
    )


def _login(ppa: Ppa, settings: Archives) -> str:
    scheme, _, place = settings.address(ppa).partition("://")
    # older versions of apt know no scheme here; without one the line is for https only
    machine = place if scheme == "https" else f"{scheme}://{place}"
    return f"machine {machine} login {ppa.user} password {ppa.token}\n"
