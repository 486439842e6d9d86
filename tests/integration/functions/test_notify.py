# SPDX-License-Identifier: AGPL-3.0-or-later
"""News of runs reach mail, ntfy and webhooks: once each, by servers that speak what those speak."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pika
import pytest
from sqlalchemy import Engine, delete, select, update

import functions.notify.app
from functions.notify.app import Notifier
from functions.notify.rules import read_rules
from tests.integration.functions.results import CONTAINER, ID, path_of
from tests.integration.functions.test_served import serving as served
from tests.servers import Rabbit
from testyard.adapters.amqp import NOTIFY_QUEUE, Publisher, connection_parameters, declare_topology
from testyard.errors import ResultError
from testyard.event import COMPLETION_EXCHANGE, CompletionMessage
from testyard.index import open_index
from testyard.index.write import record_run
from testyard.intake import create_intake, notices
from testyard.intake.schema import fact, notice
from testyard.result import Result

SECRET = "0123456789abcdef"
FAIL, PASS = 4, 0


@dataclass
class Ear:
    """What was told, and what to answer."""

    mails: list[bytes] = field(default_factory=list)
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    retry_after: str = ""
    smtp: int = 0
    http: int = 0

    def webhooks(self) -> list[dict[str, Any]]:
        return [json.loads(body) for path, _, body in self.posts if path == "/hook"]


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def ear() -> Iterator[Ear]:
    heard = Ear()

    class Smtp(socketserver.StreamRequestHandler):
        """RFC 5321, as much as one mail needs."""

        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    mail = b""
                    while (line := self.rfile.readline()) != b".\r\n":
                        mail += line
                    heard.mails.append(mail)
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    class Http(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = heard.answers.pop(0) if heard.answers else 200
            if status == 200:
                heard.posts.append(
                    (self.path, {key.lower(): value for key, value in self.headers.items()}, body)
                )
            self.send_response(status)
            self.send_header("Content-Length", "2")
            if heard.retry_after:
                self.send_header("Retry-After", heard.retry_after)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ExitStack() as stack:
        heard.smtp = stack.enter_context(serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)))
        heard.http = stack.enter_context(serving(ThreadingHTTPServer(("127.0.0.1", 0), Http)))
        yield heard


def rules_file(ear: Ear, folder: Path) -> Path:
    path = folder / "rules.toml"
    path.write_text(f"""
[destinations.mail]
apprise = "mailto://127.0.0.1:{ear.smtp}?from=yard@example.org&to=jane@example.org&mode=insecure"
[destinations.phone]
apprise = "ntfy://127.0.0.1:{ear.http}/yard"
[destinations.hook]
webhook = "http://127.0.0.1:{ear.http}/hook"
secret = "{SECRET}"
[[rules]]
to = ["mail", "phone", "hook"]
packages = ["demo"]
""")
    return path


def new_notifier(engine: Engine, ear: Ear, folder: Path) -> Notifier:
    return Notifier(engine, engine, read_rules(rules_file(ear, folder)), site="https://tests.example.org")


@pytest.fixture
def notifier(engine: Engine, ear: Ear, tmp_path: Path) -> Notifier:
    create_intake(engine)
    return new_notifier(engine, ear, tmp_path)


def run(
    engine: Engine, number: int, exit_code: int, *, trigger: str = "zlib/1", container: str = CONTAINER
) -> bytes:
    """A run that is in the index; returns the message that tells of it."""
    path = path_of(number)
    info = {"custom_environment": [f"ADT_TEST_TRIGGERS={trigger}"]}
    with engine.begin() as connection:
        record_run(connection, container, path, Result(exit_code, "demo", f"1-{number}", testinfo=info))
    return CompletionMessage(
        release="noble",
        architecture="amd64",
        package="demo",
        container=container,
        swift_dir=str(path),
        exitcode=exit_code,
        duration=1,
        testpkg_version=f"1-{number}",
        requester="jane",
        triggers=trigger,
        uuid=ID,
    ).to_bytes()


def cut_pauses_short(engine: Engine, *, destinations: bool = True) -> None:
    with engine.begin() as connection:
        if destinations:
            connection.execute(update(fact).values(expires=time.time() - 1))
        connection.execute(
            update(notice).where(notice.c.next_attempt.is_not(None)).values(next_attempt=time.time() - 1)
        )


def test_a_regression_and_its_fix(notifier: Notifier, engine: Engine, ear: Ear) -> None:
    assert notifier.on_completion(run(engine, 1, PASS)) == 0, "there is nothing to compare it with"
    assert notifier.on_completion(run(engine, 2, FAIL)) == 3
    assert notifier.on_completion(run(engine, 3, FAIL)) == 0, "it is no news"
    assert notifier.on_completion(run(engine, 4, PASS)) == 3
    assert notifier.tell_all() == 6
    first, second = sorted(ear.webhooks(), key=lambda hook: str(hook["data"]["run_id"]))
    assert (first["type"], second["type"]) == ("run.regression", "run.fix")
    assert first["data"]["version"] == "1-2"
    assert first["data"]["before"] == "pass"
    assert first["data"]["url"].startswith("https://tests.example.org/packages/demo/noble/amd64/20260105_")
    mails = [message_from_bytes(mail, policy=policy.default) for mail in ear.mails]
    assert sorted(str(mail["subject"]) for mail in mails) == [
        "fix: demo 1-4 on noble/amd64",
        "regression: demo 1-2 on noble/amd64",
    ]
    assert all(mail["to"].addresses[0].addr_spec == "jane@example.org" for mail in mails)
    text = (
        str(mails[0].get_body(("plain",)).get_content()) if mails[0].get_body(("plain",)) else str(mails[0])
    )
    assert "Asked for by jane." in text
    pushed = [json.loads(body) for path, _, body in ear.posts if path == "/"]
    assert [push["topic"] for push in pushed] == ["yard", "yard"]
    assert {push["title"] for push in pushed} == {str(mail["subject"]) for mail in mails}


def test_what_says_nothing_of_the_package_is_passed_over(notifier: Notifier, engine: Engine) -> None:
    notifier.on_completion(run(engine, 1, PASS))
    assert notifier.on_completion(run(engine, 2, 16)) == 0, "the testbed failed"
    assert notifier.on_completion(run(engine, 3, FAIL, trigger="migration-reference/0")) == 0
    run(engine, 5, FAIL, container=f"{CONTAINER}-jane-tools")
    assert notifier.on_completion(run(engine, 6, PASS)) == 0, "none of them is what it is compared with"
    assert notifier.on_completion(run(engine, 7, FAIL)) == 3


def test_private_runs_are_never_told_of(notifier: Notifier, engine: Engine, ear: Ear) -> None:
    private = f"private-{CONTAINER}"
    for number, exit_code in enumerate((PASS, FAIL), start=1):
        message = json.loads(run(engine, number, exit_code))
        assert notifier.on_completion(json.dumps({**message, "container": private}).encode()) == 0
    assert notifier.tell_all() == 0
    assert (ear.mails, ear.posts) == ([], [])


def test_the_webhook_is_signed(notifier: Notifier, engine: Engine, ear: Ear) -> None:
    run(engine, 1, PASS)
    notifier.on_completion(run(engine, 2, FAIL))
    notifier.tell_all()
    ((_, headers, body),) = [post for post in ear.posts if post[0] == "/hook"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_a_message_that_comes_twice_and_many_copies_tell_once(
    notifier: Notifier, engine: Engine, ear: Ear, tmp_path: Path
) -> None:
    run(engine, 1, PASS)
    message = run(engine, 2, FAIL)
    copies = [new_notifier(engine, ear, tmp_path) for _ in range(4)]

    def work(copy: Notifier) -> None:
        copy.on_completion(message)
        for _ in range(5):
            copy.tell_all()

    threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ear.mails) == 1
    assert len(ear.webhooks()) == 1
    assert len(ear.posts) == 2


def test_what_is_refused_is_told_later(notifier: Notifier, engine: Engine, ear: Ear) -> None:
    run(engine, 1, PASS)
    notifier.on_completion(run(engine, 2, FAIL))
    ear.answers = [503] * 4
    notifier.tell_all()
    assert ear.posts == []
    assert notifier.tell_all() == 0, "not at once"
    ear.answers = []
    cut_pauses_short(engine)
    notifier.tell_all()
    assert len(ear.posts) == 2
    assert len(ear.mails) == 1


def test_one_that_is_away_is_not_asked_for_each_of_its_rows(
    notifier: Notifier, engine: Engine, ear: Ear, tmp_path: Path
) -> None:
    run(engine, 1, PASS)
    notifier.on_completion(run(engine, 2, FAIL))
    notifier.on_completion(run(engine, 3, PASS))
    with engine.begin() as connection:
        connection.execute(delete(notice).where(notice.c.destination != "hook"))
    ear.answers, ear.retry_after = [429], "1800"
    notifier.tell_all()
    cut_pauses_short(engine, destinations=False)
    new_notifier(engine, ear, tmp_path).tell_all()
    assert (ear.answers, ear.posts) == ([], []), "asked once, and by no other copy"
    with engine.connect() as connection:
        rows = connection.execute(select(notice.c.next_attempt, notice.c.attempts)).all()
    assert all(row.next_attempt > time.time() + 1500 for row in rows)
    assert sum(row.attempts for row in rows) == 1
    cut_pauses_short(engine)
    for _ in range(2):
        notifier.tell_all()
        cut_pauses_short(engine)
    assert len(ear.webhooks()) == 2


def test_whom_a_webhook_no_longer_wants_and_after_a_day(notifier: Notifier, engine: Engine, ear: Ear) -> None:
    run(engine, 1, PASS)
    notifier.on_completion(run(engine, 2, FAIL))
    with engine.begin() as connection:
        connection.execute(update(notice).where(notice.c.destination == "phone").values(created=0.0))
    ear.answers = [410, 410]
    notifier.tell_all()
    cut_pauses_short(engine)
    with engine.connect() as connection:
        rows = {row.destination: row for row in connection.execute(select(notice))}
    given_up = {name for name, row in rows.items() if row.told is None and row.next_attempt is None}
    assert given_up == {"hook", "phone"}
    assert "status 410" in rows["hook"].problem
    with engine.begin() as connection:
        connection.execute(update(notice).values(created=0.0))
        assert notices.forget_old(connection) == 3


def test_after_a_kill_only_webhooks_are_told_again(notifier: Notifier, engine: Engine, ear: Ear) -> None:
    run(engine, 1, PASS)
    notifier.on_completion(run(engine, 2, FAIL))
    with engine.begin() as connection:
        while notices.take(connection):
            pass
    cut_pauses_short(engine)
    notifier.tell_all()
    assert len(ear.webhooks()) == 1, "its id tells whoever got it before"
    assert (len(ear.posts), ear.mails) == (1, [])


def test_a_message_that_names_no_run(notifier: Notifier) -> None:
    with pytest.raises(ResultError):
        notifier.on_completion(b"[]")


def test_as_it_is_served(rabbit: Rabbit, ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        declare_topology(connection.channel(), ())
        connection.channel().queue_purge(NOTIFY_QUEUE)
    database = f"sqlite:///{tmp_path}/index.db"
    monkeypatch.setenv("TESTYARD_BROKER__URL", rabbit.url)
    monkeypatch.setenv("TESTYARD_DATABASE__URL", database)
    monkeypatch.setenv("TESTYARD_NOTIFY__RULES", str(rules_file(ear, tmp_path)))
    engine = open_index(database, writer=True)
    run(engine, 1, PASS)
    message = run(engine, 2, FAIL)
    with Publisher(rabbit.url) as publisher, served(functions.notify.app.create_app) as answer:
        publisher.publish(COMPLETION_EXCHANGE, "", message)
        give_up = time.monotonic() + 20
        while not (ear.mails and len(ear.posts) == 2):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert answer().status_code == 200
    engine.dispose()
