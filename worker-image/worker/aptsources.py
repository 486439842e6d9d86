# SPDX-License-Identifier: AGPL-3.0-or-later
"""The package archives that this machine uses, for the root trees made on it."""

from __future__ import annotations

from dataclasses import dataclass

from testyard.errors import LastingTestbedError
from worker import process

#: Options that a testbed needs as much as this machine does: ways out, and snapshots' old dates.
_KEPT_OPTIONS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)
_ORIGINS = ("Debian", "Ubuntu")


@dataclass(frozen=True, order=True)
class AptSource:
    """One archive and suite, e.g. a mirror and ``bookworm-updates``."""

    uri: str
    suite: str
    components: tuple[str, ...]


def machine_sources(release: str) -> tuple[AptSource, ...]:
    """The distribution's archives for a release, as this machine's apt knows them.

    apt itself is asked, so every way to write sources is understood. Raises LastingTestbedError if
    there is none: then ``apt-get update`` has not been run, or another release is asked for.
    """
    lines = process.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)",
            "Created-By: Packages",
        ]
    ).splitlines()
    found: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        origin, codename, suite, component, uri = line.split("|", 4)
        if origin in _ORIGINS and release in (suite.split("-")[0], codename.split("-")[0]):
            found.setdefault((uri, suite), set()).add(component)
    if not found:
        raise LastingTestbedError(
            f"this machine's apt knows no archive of release {release}",
            resolution="Run `apt-get update`; or add the release's archive to /etc/apt/sources.list.d.",
        )
    return tuple(
        AptSource(uri, suite, tuple(sorted(components))) for (uri, suite), components in sorted(found.items())
    )


def sources_lines(sources: tuple[AptSource, ...]) -> tuple[str, ...]:
    """The archives with their source packages, a line each, for the tree's /etc/apt/sources.list.

    Not in deb822 form: from that, autopkgtest 5.28 derives no pocket, without a word. It takes the release
    from the first line, so a line without a pocket comes first.
    """
    ordered = sorted(sources, key=lambda source: "-" in source.suite)
    return tuple(
        f"{kind} {source.uri} {source.suite} {' '.join(source.components)}"
        for source in ordered
        for kind in ("deb", "deb-src")
    )


def kept_options() -> tuple[str, ...]:
    """apt options of this machine that hold in the testbed too, as ``Name "value"`` each."""
    output = process.run(["apt-config", "dump", "--format", "%f %v%n", *_KEPT_OPTIONS])
    options = []
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        if name in _KEPT_OPTIONS and value and '"' not in value:
            options.append(f'{name} "{value}"')
    return tuple(options)
