# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stored results, the messages that tell of them, and what the index then holds."""

from __future__ import annotations

from sqlalchemy import Engine

from testyard.adapters.swift import SwiftStore
from testyard.event import CompletionMessage
from testyard.index import RequestRow, RunRow, read
from testyard.result import Result, write_result_tar
from testyard.run import RunId
from testyard.store import RESULT, RunPath

ID = "11112222-3333-4444-8555-666677778888"
CONTAINER = "autopkgtest-noble"
RESULT_OF = Result(exit_code=0, source="demo", version="1", request_id=ID, summary="smoke  PASS\n")


def path_of(number: int, source: str = "demo") -> RunPath:
    """The place of a run on noble and amd64, by the second in which it ended."""
    return RunPath("noble", "amd64", source, RunId(f"20260105_1015{number:02}_0a1b2@"))


def put(
    store: SwiftStore, path: RunPath, *, container: str = CONTAINER, data: bytes | None = None
) -> CompletionMessage:
    """A stored result, and the message that tells of it."""
    store.ensure_container(container)
    store.put(container, path.file(RESULT), write_result_tar(RESULT_OF) if data is None else data)
    return CompletionMessage(
        release=path.release,
        architecture=path.architecture,
        package=path.source,
        container=container,
        swift_dir=str(path),
        exitcode=0,
        duration=1,
        testpkg_version="1",
    )


def runs(engine: Engine) -> list[RunRow]:
    """What was entered, newest first."""
    with engine.connect() as connection:
        return list(read.latest_runs(connection))


def request(engine: Engine, request_id: str = ID) -> RequestRow | None:
    """The request's row, if there is one."""
    with engine.connect() as connection:
        return read.find_request(connection, request_id)
