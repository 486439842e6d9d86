# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for any input: what is written is read again; nothing raises but our own errors."""

from __future__ import annotations

import contextlib
import json
import posixpath
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.contract.golden import tar_of
from testyard.errors import RequestError, ResultError
from testyard.event import CompletionMessage, Event, EventKind
from testyard.queue import CONTEXTS, QueueName
from testyard.request import make_request, parse_body
from testyard.result import Result, read_result_tar, write_result_tar
from testyard.run import Phase, PhaseTime, RunId
from testyard.store import RunPath, container_name, is_results_container

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
many = settings(max_examples=300, deadline=None)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
line = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
packages = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9.+-]{0,20}", fullmatch=True).filter(
    lambda name: ".." not in name
)
parts = st.from_regex(r"[a-z0-9][a-z0-9._]{0,8}", fullmatch=True).filter(lambda name: ".." not in name)
sources = st.from_regex(r"[a-z0-9][a-z0-9.+-]{1,10}", fullmatch=True)
versions = st.from_regex(r"[a-zA-Z0-9.+:~-]{1,12}", fullmatch=True)
triggers = st.builds(lambda source, version: f"{source}/{version}", sources, versions)
times = st.datetimes(datetime(1971, 1, 1), datetime(2099, 12, 31)).map(lambda when: when.replace(tzinfo=UTC))
run_ids = st.builds(RunId.make, times, st.binary(max_size=9), parts, parts)
paths = st.builds(RunPath, parts, parts, packages, run_ids)
phases = st.builds(
    PhaseTime, st.sampled_from(Phase), st.floats(0, 2e9), st.none() | st.floats(0, 1e6), st.none() | text
)
queues = st.builds(QueueName, st.sampled_from(CONTEXTS), parts, parts)
known = st.fixed_dictionaries(
    {},
    optional={
        "triggers": st.lists(triggers, max_size=3) | st.lists(triggers, min_size=1, max_size=3).map(" ".join),
        "env": st.lists(
            st.builds(
                lambda name, value: f"{name}={value}", st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), line
            )
        ),
        "ppas": st.lists(st.from_regex(r"[a-z][a-z0-9]{0,4}/[a-z][a-z0-9]{0,4}", fullmatch=True), max_size=2),
        "all-proposed": st.sampled_from(["1", "", True, 0]),
        "requester": line,
        "readable-by": line | st.lists(line, max_size=2),
        "uuid": st.uuids().map(str),
    },
)


@few
@given(packages, known, st.dictionaries(text.filter(lambda key: "-" not in key), json_values, max_size=3))
def test_requests(package: str, parameters: dict[str, Any], others: dict[str, Any]) -> None:
    others = {key: value for key, value in others.items() if not hasattr(make_request("x", {}), key)}
    of_git = parameters.get("test-git") or parameters.get("build-git")
    request = make_request(package if of_git else package.lower(), {**others, **parameters})
    assert parse_body(request.body()) == request
    assert {key: request.parameters[key] for key in others} == others


@many
@given(queues)
def test_queue_names(queue: QueueName) -> None:
    again = QueueName.parse(str(queue))
    assert again == queue
    assert str(again).count("-") in (2, 3)


@many
@given(paths)
def test_run_paths(path: RunPath) -> None:
    assert RunPath.parse(str(path)) == path
    assert path.file("log.gz").split("/")[:5] == str(path).split("/")


@many
@given(st.lists(times, min_size=2, max_size=5))
def test_run_ids_order_as_their_times_do(when: list[datetime]) -> None:
    when = [one.replace(microsecond=0) for one in when]
    assume(len(set(when)) == len(when))
    ids = [RunId.make(one, b"x", "noble", "amd64") for one in when]
    assert [run_id.time for run_id in sorted(ids)] == sorted(when)


@few
@given(
    st.builds(
        Result,
        exit_code=st.integers(0, 255),
        source=packages,
        version=versions,
        duration=st.integers(0, 2**31 - 1),
        testinfo=st.dictionaries(text, json_values, max_size=3),
        testbed_packages=st.lists(st.tuples(packages, versions), max_size=3).map(tuple),
        requester=st.none() | line,
        summary=text.map(lambda value: value.replace("\0", "")),
        request_id=st.none() | text,
        phases=st.lists(phases, max_size=3).map(tuple),
        worker=st.dictionaries(text, json_values, max_size=3),
    )
)
def test_results(result: Result) -> None:
    assert read_result_tar(write_result_tar(result)) == result


@few
@given(
    st.sampled_from([EventKind.ACCEPTED, EventKind.TAKEN, EventKind.RETURNED, EventKind.REJECTED]),
    text,
    text,
    text,
    st.floats(0, 2e9),
    st.dictionaries(text.filter(lambda key: key != "parameters"), json_values, max_size=3),
)
def test_events(
    kind: EventKind, request_id: str, queue: str, package: str, time: float, data: dict[str, Any]
) -> None:
    event = Event(kind, request_id, queue, package, time=time, data=data)
    assert Event.from_bytes(event.to_bytes()) == event


@few
@given(phases)
def test_phase_events(phase: PhaseTime) -> None:
    event = Event(EventKind.PHASE, "id", "q", "p", time=1.0, data=phase.to_json())
    assert PhaseTime.from_json(Event.from_bytes(event.to_bytes()).data) == phase


@few
@given(
    st.builds(
        CompletionMessage,
        release=parts,
        architecture=parts,
        package=packages,
        container=text,
        swift_dir=paths.map(str),
        exitcode=st.integers(0, 255),
        duration=st.integers(0, 2**31),
        testpkg_version=versions,
        requester=st.none() | line,
        triggers=st.none() | triggers,
        env=text,
        uuid=st.none() | st.uuids().map(str),
    )
)
def test_completion_messages(message: CompletionMessage) -> None:
    assert CompletionMessage.from_bytes(message.to_bytes()) == message


TAR = write_result_tar(
    Result(0, "demo", phases=(PhaseTime(Phase.BUILD, 1.0),), summary="a  PASS\n", worker={"a": 1})
)
mutations = st.lists(st.tuples(st.integers(0, len(TAR) - 1), st.integers(0, 255)), min_size=1, max_size=6)
numbers = st.sampled_from(
    [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000010\0", b"77777777777\0", b" " * 12]
)
kinds = st.sampled_from(list(b"01234567LKSxgXV\0"))


def with_header(field: bytes, kind: int, member: int) -> bytes:
    """The tar with another size and type in a member's header, and a checksum that is right."""
    data, start = bytearray(TAR), member * 1024
    header = data[start : start + 512]
    header[124:136], header[156], header[148:156] = field, kind, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[start : start + 512] = header
    return bytes(data)


def only_result_errors(read: Any, data: bytes) -> None:
    with contextlib.suppress(ResultError):
        read(data)


@many
@given(mutations)
def test_a_damaged_result_is_a_result_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(TAR)
    for place, value in changes:
        data[place] = value
    only_result_errors(read_result_tar, bytes(data))


@many
@given(numbers, kinds, st.integers(0, 4))
def test_hostile_headers_are_a_result_error(field: bytes, kind: int, member: int) -> None:
    only_result_errors(read_result_tar, with_header(field, kind, member))


@many
@given(st.binary(max_size=2000))
@example(b"\x1f\x8b\x08\x00")
@example(b"BZh9")
@example(b"\xfd7zXZ\x00")
def test_random_bytes_are_a_result_error(data: bytes) -> None:
    for read in (read_result_tar, Event.from_bytes, CompletionMessage.from_bytes):
        only_result_errors(read, data)


keys = st.sampled_from(
    [
        "kind",
        "request_id",
        "queue",
        "package",
        "time",
        "data",
        "phase",
        "started",
        "seconds",
        "test",
        "text",
        "end",
        "release",
        "architecture",
        "container",
        "swift_dir",
        "exitcode",
        "duration",
        "testpkg_version",
        "parameters",
        "requester",
        "triggers",
        "env",
        "uuid",
        "path",
        "custom_environment",
        "phases",
        "worker",
    ]
)
odd = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.sampled_from(
        [10**400, -1, 0, 1e308, *map(str, EventKind), *map(str, Phase), "noble", "amd64", "1\n"]
    )
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@many
@given(st.dictionaries(keys, odd, max_size=12), st.sampled_from(EventKind))
def test_odd_objects_are_a_result_error(value: dict[str, Any], kind: EventKind) -> None:
    event = {"request_id": "x", "queue": "q", "package": "p", "time": 1, **value, "kind": str(kind)}
    completion = {"release": "noble", "architecture": "amd64", "package": "p", "container": "c", **value}
    only_result_errors(Event.from_bytes, json.dumps(event).encode())
    only_result_errors(CompletionMessage.from_bytes, json.dumps(completion).encode())
    only_result_errors(PhaseTime.from_json, value)  # type: ignore[arg-type]
    data = json.dumps(value)
    members = [["exitcode", "0"], ["testinfo.json", data], ["testyard.json", data]]
    assert read_result_tar(tar_of(members)).exit_code == 0


request_keys = st.sampled_from(
    [
        "triggers",
        "ppas",
        "env",
        "test-git",
        "build-git",
        "all-proposed",
        "testname",
        "requester",
        "submit-time",
        "swiftuser",
        "readable-by",
        "uuid",
        "other",
    ]
)


@many
@given(st.binary(max_size=200))
@example(b"gzip\n" + b"[" * 5000)
@example(b"\x1c\x1d")
def test_random_bodies_are_a_request_error(data: bytes) -> None:
    with contextlib.suppress(RequestError):
        parse_body(data)


@many
@given(st.dictionaries(request_keys, odd, max_size=5))
def test_odd_parameters_are_a_request_error(parameters: dict[str, Any]) -> None:
    field = ""
    try:
        request = parse_body(b"demo\n" + json.dumps(parameters).encode())
        assert parse_body(request.body()) == request
    except RequestError as error:
        field = error.field
    assert field in {"", "body", *parameters}


hostile = st.text(st.sampled_from(list("./\\a1-+@ \n\0%~")), max_size=12) | text


def safe(path: str, slashes: int) -> bool:
    return ".." not in path and path.count("/") == slashes and posixpath.normpath(path) == path


@many
@given(hostile, hostile, hostile, hostile)
@example("..", "..", "..", "../x@")
def test_hostile_names_make_no_path(release: str, architecture: str, source: str, run_id: str) -> None:
    with contextlib.suppress(ResultError):
        assert safe(str(RunPath(release, architecture, source, RunId("20260105_101500@"))), 4)
    with contextlib.suppress(ResultError):
        assert safe(str(RunPath.parse(f"{release}/{architecture}/{source[:1]}/{source}/{run_id}")), 4)


@many
@given(hostile, hostile, hostile)
@example("a..b", "a", "b")
@example("a", "a..b", "c")
def test_hostile_names_make_no_container_and_no_queue(release: str, owner: str, name: str) -> None:
    with contextlib.suppress(RequestError):
        container = container_name(release, [f"{owner}/{name}"])
        assert safe(container, 0)
        assert is_results_container(container)
    with contextlib.suppress(RequestError):
        assert safe(container_name(release), 0)
    with contextlib.suppress(RequestError):
        assert safe(str(QueueName("ubuntu", release, owner)), 0)
