# SPDX-License-Identifier: AGPL-3.0-or-later
"""What came out of a run: ``result.tar``, written and read, and the summary's lines.

The members are those of Ubuntu's autopkgtest-cloud (exitcode, testbed-packages, testpkg-version,
duration, testinfo.json, requester, summary) plus one of ours, ``testyard.json``: request id,
phases, facts of the worker and the command that runs it again. Old readers pass over a member that
they don't know.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testyard.errors import ResultError
from testyard.jsonobject import parse_object
from testyard.run import Outcome, PhaseTime, outcome_of

#: No member of a result is larger; what is, is not read. ``testbed-packages`` is 3 to 100 kB.
MAX_MEMBER_BYTES = 16 * 1024 * 1024

#: No run is longer: the largest number of an integer column, 68 years.
MAX_SECONDS = 2**31 - 1

#: The version of a package that was never read.
UNKNOWN = "unknown"

#: The version of a package that is not to be tested, as migration software knows it.
BLACKLISTED = "blacklisted"


@dataclass(frozen=True)
class Subtest:
    """One line of the summary: a test, its outcome (PASS, FAIL, SKIP, FLAKY) and why."""

    name: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """Everything in one ``result.tar``. ``duration`` is in whole seconds.

    ``reproduce`` is a line for a shell that runs the test again (`testyard.reproduce`).
    """

    exit_code: int
    source: str
    version: str = UNKNOWN
    duration: int = 0
    testinfo: Mapping[str, Any] = field(default_factory=dict)
    testbed_packages: tuple[tuple[str, str], ...] = ()
    requester: str | None = None
    summary: str = ""
    request_id: str | None = None
    phases: tuple[PhaseTime, ...] = ()
    worker: Mapping[str, Any] = field(default_factory=dict)
    reproduce: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the exit code means."""
        return outcome_of(self.exit_code)

    @property
    def subtests(self) -> tuple[Subtest, ...]:
        """The summary's tests, in order."""
        return parse_summary(self.summary)

    @property
    def triggers(self) -> tuple[str, ...]:
        """The triggers, from the environment that the test saw."""
        for item in self._environment():
            if item.startswith("ADT_TEST_TRIGGERS="):
                return tuple(item.partition("=")[2].split())
        return ()

    def _environment(self) -> tuple[str, ...]:
        value = self.testinfo.get("custom_environment")
        return tuple(str(item) for item in value) if isinstance(value, list) else ()


def parse_summary(text: str) -> tuple[Subtest, ...]:
    """The tests in autopkgtest's ``summary``: ``name  OUTCOME reason``, the name padded to 20.

    Lines of any other form (``blame: …``, ``badpkg: …``) belong to no test and are passed over.
    """
    found = []
    for line in text.split("\n"):  # a test's own words may hold what else ends a line
        name, _, rest = line.partition(" ")
        outcome, _, reason = rest.strip().partition(" ")
        if name and not name.endswith(":") and outcome in ("PASS", "FAIL", "SKIP", "FLAKY"):
            found.append(Subtest(name, outcome, reason.strip()))
    return tuple(found)


def write_result_tar(result: Result) -> bytes:
    """The uncompressed tar, ``exitcode`` first."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in _members(result):
            data = text.encode("utf-8", errors="replace")
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _members(result: Result) -> list[tuple[str, str]]:
    members = [("exitcode", f"{result.exit_code}\n")]
    if result.testbed_packages:
        lines = "".join(f"{name}\t{version}\n" for name, version in result.testbed_packages)
        members.append(("testbed-packages", lines))
    members += [
        ("testpkg-version", f"{result.source} {result.version}\n"),
        ("duration", f"{result.duration}\n"),
        ("testinfo.json", json.dumps(dict(result.testinfo), indent=1)),
    ]
    if result.requester:
        members.append(("requester", f"{result.requester}\n"))
    if result.summary:
        members.append(("summary", result.summary))
    ours = {
        "request_id": result.request_id,
        "phases": [phase.to_json() for phase in result.phases],
        "worker": dict(result.worker),
        **({"reproduce": result.reproduce} if result.reproduce else {}),
    }
    members.append(("testyard.json", json.dumps(ours, indent=1)))
    return members


def read_result_tar(data: bytes) -> Result:
    """Read a result, also one that an older system wrote; missing members become defaults.

    Raises ResultError if it is no uncompressed tar or has no readable ``exitcode``.
    """
    members = _read_members(data)
    try:
        exit_code = int(members["exitcode"].strip())
    except (KeyError, ValueError) as error:
        raise ResultError("result.tar: no readable member exitcode") from error
    if exit_code not in range(256):
        raise ResultError(f"result.tar: exitcode {exit_code} is none that a program can end with")
    source, _, version = members.get("testpkg-version", "").strip().partition(" ")
    ours = _json_object(members.get("testyard.json", ""))
    return Result(
        exit_code=exit_code,
        source=source,
        version=version.strip() or UNKNOWN,
        duration=_whole_number(members.get("duration", "")),
        testinfo=_json_object(members.get("testinfo.json", "")),
        testbed_packages=read_packages(members.get("testbed-packages", "")),
        requester=members.get("requester", "").strip() or None,
        summary=members.get("summary", ""),
        request_id=_optional_text(ours.get("request_id")),
        phases=_phases(ours.get("phases")),
        worker=ours["worker"] if isinstance(ours.get("worker"), dict) else {},
        reproduce=_optional_text(ours.get("reproduce")) or "",
    )


def read_packages(text: str) -> tuple[tuple[str, str], ...]:
    """The lines ``package TAB version`` of ``testbed-packages``; others are passed over."""
    pairs = (line.split("\t") for line in text.split("\n"))
    return tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)


def _read_members(data: bytes) -> dict[str, str]:
    members = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for info in tar:
                stream = tar.extractfile(info) if info.isreg() else None
                if stream and info.size <= MAX_MEMBER_BYTES:
                    text = stream.read().decode("utf-8", errors="replace")
                    # no database column takes NUL
                    members[info.name.removeprefix("./")] = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise ResultError(f"result.tar: not a tar archive: {error}") from error
    return members


def _json_object(text: str) -> dict[str, Any]:
    try:
        return parse_object(text)
    except ValueError:
        return {}


def _phases(value: object) -> tuple[PhaseTime, ...]:
    try:
        return tuple(PhaseTime.from_json(item) for item in value) if isinstance(value, list) else ()
    except ResultError:
        return ()


def _whole_number(text: str) -> int:
    try:
        seconds = int(text.strip())
    except ValueError:
        return 0
    return seconds if 0 <= seconds <= MAX_SECONDS else 0


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) else None
