# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard retry-hook``: with a forge's answers, a real RabbitMQ, and whoever works on the delivery."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.forges import TOKEN, ForgeServer, forge_server
from tests.servers import Rabbit
from testyard.adapters.amqp import HOOKS_QUEUE, connection_parameters
from testyard.cli.app import app
from testyard.errors import RequestError
from testyard.index import open_index
from testyard.intake import create_intake, statuses
from testyard.intake.delivery import Delivery
from testyard.intake.projects import Projects
from testyard.intake.redelivery import find_pull_request
from testyard.intake.schema import delivery as remembered

COMMIT = "c0ffee" * 6 + "c0ff"
ID = "11112222-3333-4444-8555-666677778888"
PULL: dict[str, Any] = {
    "number": 7,
    "head": {"sha": COMMIT, "repo": {"full_name": "jane/tool"}},
    "base": {
        "ref": "main",
        "repo": {"full_name": "jane/tool", "clone_url": "https://git.example.org/jane/tool.git"},
    },
    "user": {"login": "jane"},
}
MERGE: dict[str, Any] = {
    "iid": 7,
    "sha": COMMIT,
    "target_branch": "main",
    "source_project_id": 1,
    "target_project_id": 1,
    "author": {"username": "jane"},
    "labels": ["ready"],
}
PAGES = {
    "github": "/jane/tool/pull/7",
    "gitlab": "/jane/tool/-/merge_requests/7",
    "forgejo": "/jane/tool/pulls/7",
    "gitea": "/jane/tool/pulls/7/files",
}


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


def configure(rabbit: Rabbit, forge: ForgeServer, kind: str, folder: Path) -> dict[str, str]:
    projects = folder / "projects.toml"
    projects.write_text(
        f'[projects."{kind}/jane/*"]\nsecret = "0123456789"\nurl = "{forge.url}"\ntoken = "{TOKEN}"\n'
    )
    config = folder / "settings.toml"
    config.write_text(
        f'[broker]\nurl = "{rabbit.url}"\n[database]\nurl = "sqlite:///{folder}/index.db"\n'
        f'[intake]\nprojects = "{projects}"\n'
    )
    return {"TESTYARD_CONFIG": str(config)}


def command(environment: dict[str, str], *arguments: str) -> Result:
    result: Result = CliRunner().invoke(app, ["retry-hook", *arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert TOKEN not in result.output
    return result


def taken(rabbit: Rabbit) -> Delivery:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        give_up = time.monotonic() + 20
        while True:
            _, _, body = connection.channel().basic_get(HOOKS_QUEUE, auto_ack=True)
            if body is not None:
                return Delivery.from_bytes(body)
            assert time.monotonic() < give_up
            time.sleep(0.05)


@pytest.mark.parametrize("kind", PAGES)
def test_the_delivery_is_worked_on_and_the_ids_are_told(
    broker: Rabbit, forge: ForgeServer, kind: str, tmp_path: Path
) -> None:
    environment = configure(broker, forge, kind, tmp_path)
    forge.pulls["jane/tool", 7] = MERGE if kind == "gitlab" else PULL
    engine = open_index(f"sqlite:///{tmp_path}/index.db", writer=True)
    create_intake(engine)
    found: list[Delivery] = []

    def work() -> None:
        found.append(taken(broker))
        with engine.begin() as connection:
            place = {"forge": kind, "project": "jane/tool", "commit": COMMIT, "context": "noble/amd64"}
            statuses.want(connection, ID, **place, details={})
            values = {"forge": kind, "id": found[0].key, "received": 1.0, "outcome": "1 requests"}
            connection.execute(remembered.insert().values(**values))

    worker = threading.Thread(target=work)
    worker.start()
    page = f"{forge.url}{PAGES[kind]}"
    result = command(environment, page, "--json", "--query", "?release=noble")
    worker.join()
    engine.dispose()
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["requests"] == [{"request_id": ID, "context": "noble/amd64", "state": "queued"}]
    assert (answer["commit"], answer["outcome"]) == (COMMIT, "1 requests")
    (made,) = found
    assert (made.forge, made.project, made.query) == (kind, "jane/tool", "release=noble")
    assert made.id.startswith("operator/")
    body = json.loads(made.body)
    if kind == "gitlab":
        assert body["object_attributes"]["last_commit"] == {"id": COMMIT}
        assert body["project"]["git_http_url"] == f"{forge.url}/jane/tool.git"
    else:
        assert body["action"] == "synchronize"
        assert body["repository"]["clone_url"] == "https://git.example.org/jane/tool.git"


def test_nobody_works_on_it(broker: Rabbit, forge: ForgeServer, tmp_path: Path) -> None:
    environment = configure(broker, forge, "github", tmp_path)
    forge.pulls["jane/tool", 7] = PULL
    keys = set()
    for _ in range(2):
        result = command(environment, f"{forge.url}/jane/tool/pull/7", "--wait", "0")
        assert result.exit_code == 1, "nothing is sure yet"
        assert "has not worked on it for 0 s" in result.output
        keys.add(taken(broker).key)
    assert len(keys) == 2, "a second one is no replay of the first"


def test_what_the_forge_does_not_know(broker: Rabbit, forge: ForgeServer, tmp_path: Path) -> None:
    result = command(configure(broker, forge, "github", tmp_path), f"{forge.url}/jane/tool/pull/8")
    assert result.exit_code == 1
    assert "status 404: Not Found" in result.output


def test_without_the_queue_nothing_is_pretended(broker: Rabbit, forge: ForgeServer, tmp_path: Path) -> None:
    forge.pulls["jane/tool", 7] = PULL
    with pika.BlockingConnection(connection_parameters(broker.url)) as connection:
        connection.channel().queue_delete(HOOKS_QUEUE)
    result = command(configure(broker, forge, "github", tmp_path), f"{forge.url}/jane/tool/pull/7")
    assert result.exit_code == 1
    assert "nothing was sent" in result.output


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("https://github.com/jane/tool/pull/7", "names no project"),
        ("http://forge.example.org/jane/tool/pull/7", "names no project"),
        ("https://forge.example.org/bob/tool/pull/7", "names no project"),
        ("https://forge.example.org/jane/tool/issues/7", "is not the address of a pull request"),
        ("https://[forge", "is no address"),
        ("", "is not the address"),
    ],
)
def test_addresses_that_are_refused(address: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "projects.toml"
    path.write_text('[projects."github/jane/*"]\nsecret = "0123456789"\nurl = "https://forge.example.org"\n')
    with pytest.raises(RequestError, match=problem):
        find_pull_request(Projects.read(path), address)
