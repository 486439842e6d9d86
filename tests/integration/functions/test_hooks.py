# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of deliveries, with real RabbitMQ, Swift and databases, and forges that go by their books."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from functions.forge.app import hook_work, make_work
from functions.forge.hooks import HookWork
from functions.webhook.hook import event_of, payload_of, project_of
from tests.forges import TOKEN, ForgeServer, forge_server
from tests.hooks import (
    HEAD,
    PROJECT,
    SECRET,
    Hook,
    forgejo_comment,
    forgejo_pull,
    github_comment,
    github_pull,
    github_push,
    github_rerun,
    gitlab_merge,
    gitlab_note,
)
from tests.integration.brokers import channel_to, wait_for, waiting
from tests.servers import Rabbit
from testyard.adapters.amqp import HOOKS_LATER_QUEUE, HOOKS_QUEUE, Publisher, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.cancel import cancelled
from testyard.errors import ResultError
from testyard.event import Event, EventKind
from testyard.index import create_tables, index_engine
from testyard.index.write import apply_event
from testyard.intake import create_intake
from testyard.intake.audit import deeds
from testyard.intake.delivery import Delivery
from testyard.intake.projects import ProjectFile
from testyard.intake.schema import asked
from testyard.intake.schema import delivery as delivery_table
from testyard.intake.statuses import Shown, change, of_commit
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.request import TestRequest, parse_body
from testyard.settings import Broker, Database, Intake, Settings, Store, Topology

OTHER = "1" * 40
ADDRESS = "release=noble&arch=amd64&package=hello-upstream"
QUEUE = QueueName("upstream", "noble", "amd64")
QUEUES = tuple(QueueName("upstream", release, arch) for release in ("noble",) for arch in ("amd64", "arm64"))
ALL = (*map(str, QUEUES), HOOKS_QUEUE, HOOKS_LATER_QUEUE, DEAD_LETTERS)


@pytest.fixture(scope="module")
def forge() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


@dataclass
class Yard:
    """Settings, and the work with its own connections."""

    work: HookWork
    engine: Engine
    rabbit: Rabbit
    store: SwiftStore
    forge: ForgeServer
    settings: Settings

    def deliver(self, hook: Hook, query: str = ADDRESS, **more: Any) -> Delivery:
        """As the webhook function hands it on, worked on."""
        text, payload = payload_of({}, hook.body)
        headers = {name.lower(): value for name, value in hook.headers.items()}
        made = Delivery(
            hook.forge,
            project_of(hook.forge, payload),
            event_of(hook.forge, headers),
            "id",
            query,
            "192.0.2.1",
            text,
        )
        self.work.handle(replace(made, **more).to_bytes())
        return made

    def sent(self) -> list[tuple[str, TestRequest]]:
        found = []
        with channel_to(self.rabbit.url) as channel:
            for queue in QUEUES:
                while (got := channel.basic_get(str(queue), auto_ack=True))[0] is not None:
                    found.append((str(queue), parse_body(got[2] or b"")))
        return found

    def statuses(self, commit: str = HEAD, forge: str = "github") -> dict[str, tuple[str, str]]:
        with self.engine.connect() as connection:
            rows = of_commit(connection, forge, PROJECT, commit)
        return {row.context: (str(row.wanted), str(row.ended.get("reason", ""))) for row in rows}

    def audit(self) -> list[tuple[str, str]]:
        with self.engine.connect() as connection:
            found = deeds(connection, limit=100)
        return [
            (str(deed.action), str(deed.details.get("outcome", deed.details.get("reason", ""))))
            for _, deed in found
        ]

    def ids(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(select(asked.c.request_id)).scalars())

    def is_cancelled(self, request_id: str) -> bool:
        return cancelled(self.store, request_id) is not None


@pytest.fixture
def yard(
    rabbit: Rabbit,
    store_settings: Store,
    store: SwiftStore,
    forge: ForgeServer,
    database: str,
    tmp_path: Path,
) -> Iterator[Yard]:
    tables = "".join(
        f'[projects."{name}/{PROJECT}"]\nsecret = "{SECRET}"\nurl = "{forge.url}"\ntoken = "{TOKEN}"\n'
        for name in ("github", "gitlab", "forgejo", "gitea")
    )
    (tmp_path / "projects.toml").write_text(tables)
    (tmp_path / "policy.toml").write_text(
        '[git]\ninternal = true\n[[rule]]\nwho = "github/friend"\nmay = ["request", "force"]\n'
    )
    settings = Settings(
        broker=Broker(url=SecretStr(rabbit.url)),
        store=store_settings,
        database=Database(url=SecretStr(database)),
        intake=Intake(projects=tmp_path / "projects.toml", policy=tmp_path / "policy.toml"),
        topology=Topology(releases=("noble",), architectures=("amd64", "arm64"), contexts=("upstream",)),
    )
    with channel_to(rabbit.url) as channel:
        declare_topology(channel, QUEUES)
        for name in ALL:
            channel.queue_purge(name)
    engine = index_engine(database, writer=True)
    create_tables(engine)
    create_intake(engine)
    forge.files.clear()
    forge.pulls.clear()
    work, close = made(settings)
    yield Yard(work, engine, rabbit, store, forge, settings)
    close()
    engine.dispose()


def made(settings: Settings) -> tuple[HookWork, Callable[[], None]]:
    """The work as the function makes it."""
    return make_work(settings, ProjectFile(settings.intake.projects))


def test_a_pull_request_is_tested(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    ((queue, request),) = yard.sent()
    assert (queue, request.package, request.requester) == (str(QUEUE), "hello-upstream", "octocat")
    assert request.build_git == "https://github.com/octo-org/hello.world.git#refs/pull/2/head"
    assert "UPSTREAM_PULL_REQUEST=2" in request.env
    assert yard.statuses() == {"noble/amd64": ("queued", "")}
    assert yard.audit()[0] == ("hook taken", "1 requests")


def test_a_replay_does_nothing(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    yard.sent()
    yard.deliver(github_pull("opened"), id="another id")
    assert yard.sent() == []
    assert yard.audit()[0] == ("hook taken", "it came before")


def test_one_that_was_cut_off_in_the_middle_asks_for_the_same(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    first = yard.sent()
    with yard.engine.begin() as connection:
        connection.execute(delivery_table.delete())  # killed before it was remembered
    yard.deliver(github_pull("opened"), time=time.time() + 1)
    assert yard.sent() == []
    assert yard.ids() == {first[0][1].uuid}


def test_a_new_push_ends_what_it_supersedes(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), ADDRESS + "&arch=arm64")
    old = yard.ids()
    yard.deliver(github_pull("opened", number=3))
    other = yard.ids() - old
    yard.deliver(github_pull("synchronize", head=OTHER), time=time.time() + 2)
    new = yard.ids() - old - other
    assert len(old) == 2
    assert len(new) == 1
    assert {each: yard.is_cancelled(each) for each in old | other | new} == {
        **dict.fromkeys(old, True),
        **dict.fromkeys(other | new, False),
    }
    # a second hook of the project, for the same push, is no newer push
    yard.deliver(
        github_pull("synchronize", head=OTHER), "release=noble&arch=arm64&package=other", time=time.time() + 2
    )
    assert not any(map(yard.is_cancelled, new))
    # one that comes late asks for nothing and ends nothing
    yard.deliver(github_pull("synchronize", head="2" * 40), time=time.time() - 60)
    assert yard.audit()[0] == ("hook refused", "a newer push is being tested")
    assert not any(map(yard.is_cancelled, new))
    yard.deliver(github_pull("closed", head=OTHER), time=time.time() + 5)
    assert all(map(yard.is_cancelled, new))


def test_what_has_ended_is_not_cancelled(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    (old,) = yard.ids()
    with yard.engine.begin() as connection:
        apply_event(connection, Event(EventKind.REJECTED, old, str(QUEUE), "", data={"reason": "x"}))
    yard.deliver(github_pull("synchronize", head=OTHER), time=time.time() + 2)
    assert not yard.is_cancelled(old)


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (github_pull("opened"), "github"),
        (gitlab_merge("open"), "gitlab"),
        (forgejo_pull("opened"), "forgejo"),
        (forgejo_pull("opened", forge="gitea"), "gitea"),
    ],
)
def test_the_file_of_the_project(yard: Yard, hook: Hook, name: str) -> None:
    yard.forge.files[PROJECT, ".testyard.toml", HEAD] = b'[[test]]\narch = "arm64"\ntestname = "smoke"\n'
    yard.deliver(hook, "")
    ((queue, request),) = yard.sent()
    assert (queue, request.package, request.testname) == (
        "debci-upstream-noble-arm64",
        "hello.world",
        "smoke",
    )
    assert yard.statuses(forge=name) == {"noble/arm64 smoke": ("queued", "")}


def test_a_strangers_file_is_not_read(yard: Yard) -> None:
    yard.forge.files[PROJECT, ".testyard.toml", HEAD] = b'[[test]]\nenv = ["THEIRS=1"]\n'
    yard.forge.files[PROJECT, ".testyard.toml", "main"] = b'[[test]]\narch = "amd64"\nenv = ["OURS=1"]\n'
    yard.deliver(github_pull("opened", fork=True), "")
    ((_, request),) = yard.sent()
    assert "OURS=1" in request.env
    assert "THEIRS=1" not in request.env


@pytest.mark.parametrize(
    ("file", "query", "problem"),
    [
        (None, "", "there is none in commit f95f852bd8"),
        (b"[", "", "no TOML"),
        (b'[[test]]\nrelease = "warty"\n', "", "'warty' is not configured"),
        (None, "release=noble&arch=z80", "'z80' is not configured"),
        (None, ADDRESS + "&ppa=x", "ppas"),
        (None, ADDRESS + "&readable-by=me", "readable-by: is no parameter"),
        (None, ADDRESS + "&env=1%3D2", "env"),
        (None, ADDRESS + "&build-git=file%3A%2F%2F%2Fetc", "build-git"),
    ],
)
def test_what_cannot_be_asked_for_is_told_on_the_pull_request(
    yard: Yard, file: bytes | None, query: str, problem: str
) -> None:
    if file is not None:
        yard.forge.files[PROJECT, ".testyard.toml", HEAD] = file
    yard.deliver(github_pull("opened"), query)
    assert yard.sent() == []
    state, reason = yard.statuses()["testyard"]
    assert state == "rejected"
    assert problem in reason
    assert yard.audit()[0] == ("hook refused", reason)
    yard.deliver(github_pull("reopened"))  # somebody has mended it
    assert yard.statuses() == {"testyard": ("pass", ""), "noble/amd64": ("queued", "")}


def test_commands(yard: Yard) -> None:
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_comment("/test arm64"), ADDRESS + "&arch=arm64")
    ((queue, _),) = yard.sent()
    assert queue == "debci-upstream-noble-arm64"
    (first,) = yard.ids()
    yard.deliver(github_comment("/test"), ADDRESS + "&arch=arm64")  # forced: also what waits already
    assert len(yard.sent()) == 2
    yard.deliver(github_comment("thanks"))
    assert yard.audit()[0] == ("hook taken", "no command")
    yard.deliver(github_comment("/test never"), ADDRESS)
    assert "nothing is called never" in yard.statuses()["testyard"][1]
    yard.deliver(github_comment("/cancel"), time=time.time() + 5)
    assert yard.is_cancelled(first)


def test_strangers_give_no_commands(yard: Yard) -> None:
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_pull("opened"))
    yard.sent()
    for text in ("/test", "/cancel", "/test\n/cancel"):
        yard.deliver(github_comment(text, association="NONE", user="stranger"))
        action, reason = yard.audit()[0]
        assert (action, "github/stranger may not" in reason) == ("hook refused", True)
    assert yard.sent() == []
    assert not any(map(yard.is_cancelled, yard.ids()))
    yard.deliver(github_comment("/test", association="NONE", user="friend"))
    ((_, request),) = yard.sent()
    assert request.requester == "friend"


def test_retest_and_the_button(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), ADDRESS + "&arch=arm64")
    first = dict(yard.sent())
    failed = first[str(QUEUE)].uuid or ""
    passed = first["debci-upstream-noble-arm64"].uuid or ""
    with yard.engine.begin() as connection:
        for each in (failed, passed):
            apply_event(connection, Event(EventKind.REJECTED, each, str(QUEUE), "", data={"reason": "x"}))
        change(connection, failed, Shown.FAIL, when=time.time())
        change(connection, passed, Shown.PASS, when=time.time())
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_comment("/retest"))
    ((queue, request),) = yard.sent()
    assert (queue, request.env, request.build_git) == (str(QUEUE), first[queue].env, first[queue].build_git)
    assert request.uuid != failed
    assert yard.statuses()["noble/amd64"] == ("queued", "")
    yard.deliver(github_rerun(external=passed))
    ((queue, _),) = yard.sent()
    assert queue == "debci-upstream-noble-arm64"
    yard.deliver(github_rerun(external="99999999-9999-4999-8999-999999999999"))
    assert yard.audit()[0] == ("hook taken", "nothing is to run again")


def test_comments_of_other_forges(yard: Yard) -> None:
    for hook in (gitlab_note("/test"), forgejo_comment("/test")):
        yard.forge.pulls[PROJECT, 2] = dict(forgejo_pull("opened").payload["pull_request"])
        yard.deliver(hook)
        assert "may not request tests" in yard.audit()[0][1]


def test_pushes_only_if_the_file_says_so(yard: Yard) -> None:
    yard.forge.files[PROJECT, ".testyard.toml", HEAD] = (
        b'[[test]]\narch = "amd64"\non = "push"\nbranches = "main"\n'
    )
    yard.deliver(github_push(), "")
    ((_, request),) = yard.sent()
    assert request.build_git == "https://github.com/octo-org/hello.world.git#refs/heads/main"
    yard.deliver(github_push(ref="refs/heads/other"), "")
    assert yard.sent() == []
    yard.deliver(github_push(), ADDRESS)
    assert yard.sent() == []


def test_a_forge_that_is_away_is_asked_later(yard: Yard) -> None:
    yard.forge.refuse(503, times=2)
    yard.deliver(github_pull("opened"), "")
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 1
    assert yard.statuses() == {}
    yard.deliver(github_pull("opened"), "", time=time.time() - 4000)
    assert "503" in yard.statuses()["testyard"][1]


def test_what_cannot_be_read_is_parked_and_stops_nothing(yard: Yard) -> None:
    broken = replace(github_pull("opened"), payload={**github_pull("opened").payload, "pull_request": {}})
    with pytest.raises(ResultError, match=r"pull_request\.number"):
        yard.deliver(broken)
    assert yard.audit()[0][0] == "hook refused"
    with pytest.raises(ResultError):
        yard.work.handle(b"[]")
    unknown = replace(
        github_pull("opened"), payload={**github_pull("opened").payload, "repository": {"full_name": "a/b"}}
    )
    yard.deliver(unknown)
    assert yard.audit()[0] == ("hook refused", "there is no such project any more")


def test_refused_ones_are_in_the_audit_log(yard: Yard) -> None:
    yard.work.handle(
        Delivery(
            "github", "", "push", "id", "", "192.0.2.9", refused="its signature is wrong", left_out=7
        ).to_bytes()
    )
    with yard.engine.connect() as connection:
        ((_, deed),) = deeds(connection)
    assert (str(deed.action), deed.address, deed.details["left_out"]) == ("hook refused", "192.0.2.9", 7)
    assert SECRET not in json.dumps(dict(deed.details))


def test_old_deliveries_are_forgotten(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), time=time.time() - 31 * 86400)
    yard.deliver(github_pull("opened", number=3))
    yard.work.forget_old()
    with yard.engine.connect() as connection:
        assert len(connection.execute(select(delivery_table)).all()) == 1


def test_as_it_is_served(yard: Yard) -> None:
    """From the queue, one bad delivery among good ones."""
    works = hook_work(yard.settings, ProjectFile(yard.settings.intake.projects))
    threads = [threading.Thread(target=work.run, daemon=True) for work in works]
    with Publisher(yard.rabbit.url) as publisher:
        publisher.publish("", HOOKS_QUEUE, b"no JSON")
        for number in range(1, 6):
            hook = github_pull("opened", number=number)
            made = Delivery(
                "github", PROJECT, "pull_request", str(number), ADDRESS, "192.0.2.1", hook.body.decode()
            )
            publisher.publish("", HOOKS_QUEUE, made.to_bytes())
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(yard.ids()) == 5)
        assert waiting(yard.rabbit, DEAD_LETTERS) == 1
        assert [work.problem() for work in works] == ["", ""]
    finally:
        for work in works:
            work.stop()
        for thread in threads:
            thread.join(10)
    with suppress(AssertionError):
        wait_for(lambda: len(yard.sent()) == 5, 1)
