# SPDX-License-Identifier: AGPL-3.0-or-later
"""A test request: what is asked, and the queue body that carries it.

The body is ``<package>``, then LF (or, from older publishers, one blank), then a JSON object, all
UTF-8; the object may be absent. Keys and forms are those of Ubuntu's autopkgtest-cloud, so its
clients need no change. Unknown keys are kept and passed on.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testyard import fields
from testyard.errors import RequestError
from testyard.jsonobject import parse_object
from testyard.ppa import Ppa

#: A body larger than this is no test request. The largest that britney has sent is a few kB.
MAX_BODY_BYTES = 256 * 1024

#: The trigger that asks for a run without any package from the proposed pocket.
MIGRATION_REFERENCE = "migration-reference/0"


@dataclass(frozen=True)
class TestRequest:
    """One validated request; built by `parse_body` or `make_request` only.

    ``parameters`` is the JSON object as it came, unknown keys included.
    """

    __test__ = False

    package: str
    triggers: tuple[str, ...] = ()
    ppas: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    test_git: str | None = None
    build_git: str | None = None
    all_proposed: bool = False
    testname: str | None = None
    requester: str | None = None
    submit_time: str | None = None
    swiftuser: str | None = None
    readable_by: tuple[str, ...] = ()
    uuid: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def private(self) -> bool:
        """True if only named people may see this run: in every queue, page, feed, log and store."""
        return bool(self.swiftuser or self.readable_by)

    @property
    def from_git(self) -> bool:
        """True if tests or packages come from a repository: what is tested is not what a release has."""
        return bool(self.test_git or self.build_git)

    @property
    def trigger_sources(self) -> tuple[str, ...]:
        """Source packages to take from the proposed pocket."""
        return tuple(t.split("/", 1)[0] for t in self.triggers if t != MIGRATION_REFERENCE)

    @property
    def archives(self) -> tuple[Ppa, ...]:
        """The archives that ``ppas`` names."""
        return tuple(Ppa.parse(item) for item in self.ppas)

    def body(self) -> bytes:
        """The queue body in the form that every consumer reads: LF before the JSON."""
        return f"{self.package}\n{json.dumps(dict(self.parameters))}".encode()


def parse_body(body: bytes) -> TestRequest:
    """Read a queue body.

    Raises RequestError whose ``field`` is ``body``, ``package`` or the JSON key that is wrong.
    """
    package, parameters = _split(body)
    fields.package_name(package)  # first: its error tells more of a body without a package
    return make_request(package, _parse_object(parameters))


def body_id(body: bytes) -> str | None:
    """The ``uuid`` in a body of which nothing else may be right; None if it has none that can be read."""
    try:
        return fields.request_id("uuid", _parse_object(_split(body)[1]).get("uuid"))
    except RequestError:
        return None


def perhaps_private(body: bytes) -> bool:
    """True unless it is plain that anybody may read a body, of which nothing may be right."""
    # an escape may hide a letter of a key
    return any(sign in body for sign in (b"swiftuser", b"readable-by", b"\\u"))


def make_request(package: str, parameters: Mapping[str, Any]) -> TestRequest:
    """Validate a package name and request parameters (the JSON object's keys).

    Raises RequestError naming the key that is wrong and what would be right.
    """
    if not (parameters.get("test-git") or parameters.get("build-git")):
        fields.source_name(package)
    request = TestRequest(
        package=fields.package_name(package),
        triggers=fields.triggers(parameters.get("triggers")),
        ppas=fields.ppas(parameters.get("ppas")),
        env=fields.environment(parameters.get("env")),
        test_git=fields.git_url("test-git", parameters.get("test-git")),
        build_git=fields.git_url("build-git", parameters.get("build-git")),
        all_proposed=fields.flag("all-proposed", parameters.get("all-proposed")),
        testname=fields.test_name(parameters.get("testname")),
        requester=fields.line("requester", parameters.get("requester")),
        submit_time=fields.line("submit-time", parameters.get("submit-time")),
        swiftuser=fields.swift_user(parameters.get("swiftuser")),
        readable_by=fields.readable_by(parameters.get("readable-by")),
        uuid=fields.request_id("uuid", parameters.get("uuid")),
        parameters=dict(parameters),
    )
    if not request.swiftuser and not all(ppa.public for ppa in request.archives):
        raise RequestError("ppas", "an archive with credentials needs swiftuser: its results are private")
    return request


def new_request_id() -> str:
    """A fresh request id: a random UUID in its canonical text form."""
    return str(uuid.uuid4())


def _split(body: bytes) -> tuple[str, str]:
    """Package and JSON text, neither checked."""
    if len(body) > MAX_BODY_BYTES:
        raise RequestError("body", f"{len(body)} bytes; at most {MAX_BODY_BYTES} are taken")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise RequestError("body", f"not UTF-8 (byte {error.start})") from error
    package, *rest = re.split(r"[ \t\n]", text.strip(), maxsplit=1)
    return package, rest[0] if rest else "{}"


def _parse_object(text: str) -> dict[str, Any]:
    try:
        return parse_object(text)
    except ValueError as error:
        raise RequestError("body", f"what follows the package is no JSON object: {error}") from error
