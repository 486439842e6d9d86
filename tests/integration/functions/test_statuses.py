# SPDX-License-Identifier: AGPL-3.0-or-later
"""Statuses reach the forge: by events, or by the sweep for those that were lost; with a real Swift."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from functions.forge.status_events import apply
from functions.forge.status_sender import StatusSender, pause_after
from functions.forge.status_sweep import StatusSweep
from tests.forges import TOKEN, ForgeServer, forge_server
from tests.integration.functions.results import CONTAINER, ID, path_of, put
from tests.integration.functions.test_claims import QUEUE, claimed
from testyard.adapters.deadletters import DeadLetter
from testyard.adapters.forges import Forges
from testyard.adapters.swift import SwiftStore
from testyard.cancel import cancel
from testyard.errors import ForgeError, StoreError
from testyard.event import Event, EventKind
from testyard.index.write import apply_event
from testyard.intake import create_intake, statuses
from testyard.intake.pauses import Pauses
from testyard.intake.projects import Projects
from testyard.intake.schema import fact, status
from testyard.intake.statuses import Shown
from testyard.result import Result, write_result_tar
from testyard.store import RESULT
from worker.claim import ClaimState

COMMIT = "c0ffee" * 6 + "c0ff"
CONTEXT = "noble/amd64 smoke"
PATH = path_of(1)
FAILED = Result(4, "demo", "1", request_id=ID, summary="smoke FAIL non-zero exit status 1\nother PASS\n")


@dataclass
class Tellers:
    """A sender and a sweep, as one copy of the function has them."""

    memory: Engine
    store: SwiftStore
    forge: ForgeServer
    projects: Projects
    letters: list[DeadLetter] = field(default_factory=list)

    def __post_init__(self) -> None:
        create_intake(self.memory)
        self.sender = self.new_sender()
        self.sweeper = StatusSweep(self.memory, self.memory, self.store, lambda: self.letters)

    def new_sender(self) -> StatusSender:
        site = "https://tests.example.org"
        return StatusSender(
            self.memory, self.store, lambda: self.projects, Forges(Pauses(self.memory)), site=site
        )

    def want(self, *, private: bool = False, request_id: str = ID, context: str = CONTEXT) -> None:
        details = {"queue": QUEUE, "package": "demo", **({"private": True} if private else {})}
        with self.memory.begin() as connection:
            statuses.want(
                connection,
                request_id,
                forge="github",
                project="jane/tool",
                commit=COMMIT,
                context="noble/amd64" if private else context,
                details=details,
            )

    def hear(self, kind: EventKind, *, when: float | None = None, **data: object) -> None:
        event = Event(kind, ID, QUEUE, "demo", time.time() if when is None else when, data)
        with self.memory.begin() as connection:
            apply(connection, Event.from_bytes(event.to_bytes()))

    def index(self, kind: EventKind, **data: object) -> None:
        with self.memory.begin() as connection:
            apply_event(connection, Event(kind, ID, QUEUE, "demo", data=data))

    def due(self) -> None:
        """Let all pauses be over."""
        self.rows_due()
        with self.memory.begin() as connection:
            connection.execute(update(fact).values(expires=time.time() - 1))

    def rows_due(self) -> None:
        """Let the rows' own pauses be over, and not those of forges."""
        now = time.time() - 1
        with self.memory.begin() as connection:
            connection.execute(
                update(status).where(status.c.next_attempt.is_not(None)).values(next_attempt=now)
            )
            connection.execute(update(status).where(status.c.next_look.is_not(None)).values(next_look=now))

    def sweep(self) -> None:
        self.due()
        self.sweeper.sweep()
        self.sender.tell_all()

    @property
    def row(self) -> statuses.Status:
        with self.memory.connect() as connection:
            (row,) = statuses.of_request(connection, ID)
        return row

    def said(self, context: str = CONTEXT) -> list[str]:
        return self.forge.states(context)


def store_result(store: SwiftStore, result: Result = FAILED, container: str = CONTAINER) -> None:
    put(store, PATH, container=container, data=write_result_tar(result))


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


def projects(forge: ForgeServer, tmp_path: Path, login: str = f'token = "{TOKEN}"') -> Projects:
    path = tmp_path / "projects.toml"
    path.write_text(f'[projects."github/jane/tool"]\nsecret = "0123456789"\nurl = "{forge.url}"\n{login}\n')
    return Projects.read(path)


@pytest.fixture
def tellers(engine: Engine, store: SwiftStore, forge: ForgeServer, tmp_path: Path) -> Tellers:
    return Tellers(engine, store, forge, projects(forge, tmp_path))


def test_from_the_wish_to_the_result(tellers: Tellers, store: SwiftStore) -> None:
    tellers.want()
    tellers.sender.tell_all()
    tellers.hear(EventKind.TAKEN)
    tellers.sender.tell_all()
    store_result(store)
    tellers.hear(EventKind.STORED, container=CONTAINER, path=str(PATH), exit_code=4)
    assert tellers.sender.tell_all() == 1
    assert tellers.said() == ["pending", "pending", "failure"]
    last = tellers.forge.statuses[-1].body
    assert last["description"] == "1 of 2 tests failed: smoke"
    assert last["target_url"] == f"https://tests.example.org/requests/{ID}"
    assert tellers.sender.tell_all() == 0


def test_a_check_run_names_the_tests(tellers: Tellers, store: SwiftStore, tmp_path: Path) -> None:
    login = f"app_id = 4711\nprivate_key = '''{tellers.forge.private_key}'''"
    tellers.projects = projects(tellers.forge, tmp_path, login)
    tellers.want()
    tellers.sender.tell_all()
    store_result(store)
    tellers.hear(EventKind.STORED, container=CONTAINER, path=str(PATH), exit_code=4)
    tellers.sender.tell_all()
    (check,) = tellers.forge.checks.values()
    assert tellers.forge.check_states == {1: ["queued", "failure"]}
    assert check["external_id"] == ID
    assert "<code>smoke</code> | FAIL" in check["output"]["summary"]
    assert check["output"]["annotations"][0]["message"] == "non-zero exit status 1"


@pytest.mark.parametrize("private", [False, True])
def test_a_run_of_whose_end_nothing_was_told(tellers: Tellers, store: SwiftStore, *, private: bool) -> None:
    container = f"private-{CONTAINER}" if private else CONTAINER
    tellers.want(private=private)
    tellers.sender.tell_all()
    store_result(store, container=container)
    claimed(store, container=container)
    if private:
        tellers.hear(EventKind.STORED)  # which does not say how
    tellers.sweep()
    assert tellers.said("noble/amd64" if private else CONTEXT) == ["pending", "failure"]
    told = str([said.body for said in tellers.forge.statuses])
    assert ("smoke" in told) == (not private)
    if private:
        assert "demo" not in told


def test_two_who_told_at_the_same_time_leave_one_check_run_open(tellers: Tellers, tmp_path: Path) -> None:
    login = f"app_id = 4711\nprivate_key = '''{tellers.forge.private_key}'''"
    tellers.projects = projects(tellers.forge, tmp_path, login)
    tellers.want()
    other = tellers.new_sender()

    def second(path: str) -> None:
        """The first is held up before its check run is made; its lease runs out."""
        if path.endswith("/installation"):
            tellers.forge.before_answer = lambda _path: None
            tellers.rows_due()
            other.tell_one()

    tellers.forge.before_answer = second
    tellers.sender.tell_one()
    assert len(tellers.forge.checks) == 2
    tellers.hear(EventKind.STORED, container=CONTAINER, path=str(PATH), exit_code=0)
    for _ in range(3):
        tellers.due()
        tellers.sender.tell_all()
    assert {run["status"] for run in tellers.forge.checks.values()} == {"completed"}
    assert sorted(run["conclusion"] for run in tellers.forge.checks.values()) == ["neutral", "success"]
    with tellers.memory.connect() as connection:
        assert "strays" not in connection.execute(select(status.c.memo)).scalar_one()


def test_what_the_index_knows(tellers: Tellers, store: SwiftStore) -> None:
    tellers.want()
    store_result(store, Result(0, "demo", "1", request_id=ID, summary="smoke PASS\n"))
    tellers.index(EventKind.TAKEN, worker="w1")
    tellers.sweep()
    assert tellers.row.wanted is Shown.RUNNING
    tellers.index(EventKind.STORED, container=CONTAINER, path=str(PATH), exit_code=0)
    tellers.sweep()
    assert tellers.said() == ["pending", "success"]
    assert tellers.forge.statuses[-1].body["description"] == "1 test passed"


def test_what_workers_noted(tellers: Tellers, store: SwiftStore) -> None:
    tellers.want()
    claimed(store, state=ClaimState.RUNNING)
    tellers.sweep()
    assert tellers.row.wanted is Shown.RUNNING
    cancel(store, ID, "a newer push")
    tellers.sweep()
    assert tellers.row.wanted is Shown.CANCELLED
    assert tellers.said() == ["pending", "error"]
    assert tellers.forge.statuses[-1].body["description"] == "cancelled: a newer push"


def test_a_rejected_one_whose_event_was_lost_is_found_among_the_dead_letters(tellers: Tellers) -> None:
    tellers.want()
    tellers.letters.append(DeadLetter(QUEUE, "ppas: an archive without a key", ID, b"demo"))
    tellers.sweep()
    assert tellers.row.wanted is Shown.QUEUED, "it is too young to be looked for there"
    tellers.forge.statuses.clear()
    with tellers.memory.begin() as connection:
        connection.execute(update(status).values(updated=time.time() - 400, next_look=time.time() + 90))
    tellers.sweeper.sweep()  # though the turn of this one has not come
    tellers.sender.tell_all()
    assert tellers.said() == ["error"]
    assert "archive without a key" in tellers.forge.statuses[-1].body["description"]


@pytest.mark.parametrize("known", [[], [EventKind.TAKEN]])
def test_what_nobody_hears_of_any_more_is_lost(tellers: Tellers, known: list[EventKind]) -> None:
    tellers.want()
    for kind in known:
        tellers.index(kind)
    with tellers.memory.begin() as connection:
        connection.execute(update(status).values(updated=time.time() - 15 * 86400))
    tellers.sweep()
    assert tellers.said() == ["error"]
    tellers.hear(EventKind.TAKEN, when=time.time() + 1)
    assert tellers.row.wanted is Shown.RUNNING, "it was not lost after all"


def test_a_look_that_finds_nothing_new_is_rarer_with_age(tellers: Tellers) -> None:
    tellers.want()
    tellers.sweep()
    with tellers.memory.connect() as connection:
        assert statuses.silent(connection, limit=10) == ()
    assert tellers.row.wanted is Shown.QUEUED


def test_a_forge_that_is_away_for_a_while(tellers: Tellers) -> None:
    tellers.want()
    tellers.forge.refuse(503, times=3)
    for number in range(1, 4):
        tellers.due()
        assert tellers.new_sender().tell_all() == 1
        assert tellers.row.problem.startswith("POST")
        assert tellers.row.attempts == number
    tellers.hear(EventKind.STORED, container=CONTAINER, path=str(PATH), exit_code=16)
    tellers.due()
    tellers.new_sender().tell_all()
    assert tellers.said() == ["error"], "only the last state is of use"
    assert tellers.row.problem == ""


@pytest.mark.parametrize(
    ("code", "headers", "message", "least"),
    [
        (429, {"Retry_After": "1200"}, "no", 1200),
        (403, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(2**33)}, "no", 3600),
        (403, {}, "You have exceeded a secondary rate limit. Please wait a few minutes.", 60),
    ],
)
def test_who_asked_to_be_left_alone_is_by_all_copies(
    tellers: Tellers, code: int, headers: dict[str, str], message: str, least: float
) -> None:
    tellers.want()
    tellers.want(context="noble/arm64", request_id=ID.replace("1111", "9999"))
    tellers.forge.refuse(code, message=message, **headers)
    tellers.sender.tell_all()
    tellers.rows_due()
    tellers.new_sender().tell_all()
    assert len(tellers.forge.calls) == 1, "the second one would meet the same, and so would another copy"
    assert tellers.row.attempts <= 1, "not to be asked is no attempt"
    with tellers.memory.connect() as connection:
        dues = connection.execute(select(status.c.next_attempt)).scalars().all()
    assert all(due > time.time() + least - 5 for due in dues)
    tellers.due()
    tellers.new_sender().tell_all()
    tellers.due()
    tellers.sender.tell_all()
    assert sorted(said.state for said in tellers.forge.statuses) == ["pending", "pending"]


def test_a_limit_takes_no_app_s_token_away(tellers: Tellers, tmp_path: Path) -> None:
    login = f"app_id = 4711\nprivate_key = '''{tellers.forge.private_key}'''"
    tellers.projects = projects(tellers.forge, tmp_path, login)
    tellers.want()
    tellers.sender.tell_all()
    tellers.forge.refuse(403, message="You have exceeded a secondary rate limit.")
    for kind in (EventKind.TAKEN, EventKind.RETURNED):
        tellers.hear(kind)
        tellers.due()
        tellers.sender.tell_all()
    assert len(tellers.forge.app_tokens) == 1


def test_a_project_without_a_token_is_told_of_when_it_has_one(tellers: Tellers, tmp_path: Path) -> None:
    tellers.want()
    others = [f"{ID[:-4]}{number}" for number in range(1000, 1100)]
    for number, each in enumerate(others):
        tellers.want(context=f"noble/a{number}", request_id=each)
    good = tellers.projects
    tellers.projects = projects(tellers.forge, tmp_path, "")
    assert tellers.sender.tell_all() == 1, "one tells for all of the project"
    assert "no token" in tellers.row.problem
    assert tellers.row.attempts == 0, "nothing was tried"
    tellers.projects = Projects()
    tellers.due()
    assert tellers.new_sender().tell_all() == 1
    assert "not in intake.projects" in tellers.row.problem
    tellers.projects = good
    tellers.rows_due()
    while tellers.new_sender().tell_all():
        pass
    assert len(tellers.forge.statuses) == len(others) + 1


def test_pauses_grow() -> None:
    away, refused, wrong = ForgeError("x"), ForgeError("x", refused=True), ForgeError("x", lasting=True)
    assert 1 <= (pause_after(away, 1) or 0) <= 1.2
    assert 300 <= (pause_after(away, 99999) or 0) <= 360
    assert 3600 <= (pause_after(refused, 99999) or 0) <= 4320, "until somebody mends the token"
    assert pause_after(wrong, 9) is not None
    assert pause_after(wrong, 10) is None
    assert 90 <= (pause_after(ForgeError("x", retry_after=90), 1) or 0) <= 108


def test_many_copies_and_late_events_leave_each_with_its_last_state(tellers: Tellers) -> None:
    ids = {number: f"{number:08}-2222-4333-8444-555555555555" for number in range(12)}
    for number, request_id in ids.items():
        tellers.want(request_id=request_id, context=f"c{number}")
    stop = threading.Event()

    def tell() -> None:
        sender = tellers.new_sender()
        while not stop.is_set():
            sender.tell_all()

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for kind, data in (
        (EventKind.STORED, {"container": CONTAINER, "path": str(PATH), "exit_code": 0}),
        (EventKind.TAKEN, {}),
        (EventKind.RETURNED, {}),
    ):
        for request_id in ids.values():
            with tellers.memory.begin() as connection:
                apply(connection, Event(kind, request_id, QUEUE, "demo", data=data))
    give_up = time.monotonic() + 30
    while any(tellers.said(f"c{number}")[-1:] != ["success"] for number in ids):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    for number in ids:
        said = tellers.said(f"c{number}")
        assert said.index("success") == len(said) - 1


def test_a_result_that_cannot_be_read(tellers: Tellers, store: SwiftStore) -> None:
    tellers.want()
    store.put(CONTAINER, PATH.file(RESULT), b"no tar")
    tellers.hear(EventKind.STORED, container=CONTAINER, path=str(PATH), exit_code=0)
    tellers.sender.tell_all()
    assert tellers.said() == ["success"]


def test_what_waits_together_is_of_one_project(tellers: Tellers) -> None:
    tellers.want()
    with tellers.memory.begin() as connection:
        statuses.want(
            connection, ID.replace("1111", "9999"), forge="github", project="joe/tool", commit=COMMIT,
            context=CONTEXT,
        )  # fmt: skip
        first = statuses.take(connection)
        assert first is not None
        statuses.put_off(connection, first, "no token", 600)
        second = statuses.take(connection)
    assert second is not None
    assert {first.project, second.project} == {"jane/tool", "joe/tool"}


def test_many_put_off_at_once_wait_for_nobody(tellers: Tellers) -> None:
    """PostgreSQL ended one of two that wanted each other's rows: 6 in 8 rounds."""
    for number in range(300):
        tellers.want(context=f"noble/a{number}", request_id=str(uuid.UUID(int=number)))
    errors: list[Exception] = []

    def tell() -> None:
        try:
            for _ in range(3):
                with tellers.memory.begin() as connection:
                    row = statuses.take(connection)
                if row is not None:
                    with tellers.memory.begin() as connection:
                        statuses.put_off(connection, row, "no token", 0)
        except SQLAlchemyError as error:
            errors.append(error)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_one_that_cannot_be_looked_at_keeps_no_other_from_it(tellers: Tellers) -> None:
    other = ID.replace("1111", "9999")
    tellers.want()
    tellers.want(context="noble/arm64", request_id=other)
    cancel(tellers.store, other, "not needed")

    class Broken:
        """A store that cannot read one object."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tellers.store, name)

        def get(self, container: str, name: str) -> bytes | None:
            if ID in name:
                raise StoreError("status 500")
            return tellers.store.get(container, name)

    tellers.rows_due()
    StatusSweep(tellers.memory, tellers.memory, Broken(), list).sweep()  # type: ignore[arg-type]
    with tellers.memory.connect() as connection:
        (row,) = statuses.of_request(connection, other)
    assert row.wanted is Shown.CANCELLED
