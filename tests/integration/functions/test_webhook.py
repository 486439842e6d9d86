# SPDX-License-Identifier: AGPL-3.0-or-later
"""The webhook function as it is served, with a real RabbitMQ."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from functions.webhook.app import WebhookApp
from functions.webhook.reply import ReplyError, Room, read_body, within
from functions.webhook.settings import WebhookSettings, load_webhook_settings
from tests.hooks import (
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
    gitlab_push,
)
from tests.integration.brokers import channel_to, wait_for, waiting
from tests.served import Served, projects_file, served_webhook
from tests.servers import Rabbit
from testyard.adapters.amqp import HOOKS_QUEUE, declare_topology
from testyard.errors import SettingsError
from testyard.intake.delivery import MOST_BYTES, Delivery

HOOKS = [
    github_pull("opened"),
    github_pull("synchronize", fork=True),
    github_comment("/test"),
    github_push(),
    github_rerun(),
    gitlab_merge("open"),
    gitlab_note("/retest"),
    gitlab_push(),
    forgejo_pull("opened"),
    forgejo_pull("synchronized"),
    forgejo_comment("/cancel"),
    forgejo_pull("opened", forge="gitea"),
]


@pytest.fixture(scope="module")
def served(rabbit: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("webhook")
    names = "".join(
        f'[projects."{forge}/octo-org/*"]\nsecret = ["{SECRET}", "another of them"]\n'
        for forge in ("github", "gitlab", "forgejo", "gitea")
    )
    old = f'[projects."github/octo-org/old"]\nsecret = "{SECRET}"\nsha1 = true\n'
    with served_webhook(folder, rabbit.url, projects_file(folder, names + old)) as found:
        yield found


@pytest.fixture(autouse=True)
def empty(rabbit: Rabbit) -> None:
    with channel_to(rabbit.url) as channel:
        declare_topology(channel, ())
        channel.queue_purge(HOOKS_QUEUE)


def taken(rabbit: Rabbit) -> list[Delivery]:
    found = []
    with channel_to(rabbit.url) as channel:
        while True:
            method, properties, body = channel.basic_get(HOOKS_QUEUE, auto_ack=True)
            if method is None or properties is None or body is None:
                return found
            assert properties.delivery_mode == 2
            found.append(Delivery.from_bytes(body))


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: f"{hook.forge}-{hook.event}")
def test_what_a_forge_sends_is_kept(served: Served, rabbit: Rabbit, hook: Hook) -> None:
    before = time.time()
    answer = served.post(replace(hook, id="the-id"), f"/hooks/{hook.forge}?release=trixie&env=A%3D1%3BB%3D2")
    assert (answer.status_code, answer.json()) == (202, {"status": "taken", "delivery": "the-id"})
    (found,) = taken(rabbit)
    assert before <= found.time <= time.time()
    assert replace(found, time=0) == Delivery(
        forge=hook.forge,
        project=PROJECT,
        event=hook.event,
        id="the-id",
        query="release=trixie&env=A%3D1%3BB%3D2",
        address="127.0.0.1",
        body=hook.body.decode(),
        time=0,
    )
    assert SECRET not in str(found)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: f"{hook.forge}-{hook.event}")
def test_the_old_address_knows_each_forge(served: Served, rabbit: Rabbit, hook: Hook) -> None:
    assert served.post(hook, "/request.cgi?release=trixie&arch=amd64").status_code == 202
    (found,) = taken(rabbit)
    assert (found.forge, found.query) == (hook.forge, "release=trixie&arch=amd64")


def test_a_form_is_what_github_sends_unless_told_otherwise(served: Served, rabbit: Rabbit) -> None:
    hook = github_pull("opened", title="ümläut ☃")
    body = b"payload=" + quote(hook.body.decode()).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = hook.headers | {
        "X-Hub-Signature-256": signature,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = httpx.post(f"{served.url}/hooks/github", content=body, headers=headers, trust_env=False)
    assert answer.status_code == 202
    assert json.loads(taken(rabbit)[0].body) == hook.payload


def test_either_of_two_secrets(served: Served, rabbit: Rabbit) -> None:
    for hook in HOOKS:
        assert served.post(replace(hook, secret="another of them")).status_code == 202
    assert len(taken(rabbit)) == len(HOOKS)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: f"{hook.forge}-{hook.event}")
def test_who_has_no_secret_learns_nothing(served: Served, rabbit: Rabbit, hook: Hook) -> None:
    project = {"full_name": "nobody/nothing", "path_with_namespace": "nobody/nothing"}
    unknown = replace(hook, payload={**hook.payload, "project": project, "repository": project})
    answers = [
        served.post(replace(hook, secret="a wrong one")),
        served.post(unknown),
        served.post(replace(hook, payload={})),
        httpx.post(f"{served.url}/hooks/{hook.forge}", content=b"{", trust_env=False),
        httpx.post(f"{served.url}/hooks/{hook.forge}", content=b"[" * 100_000, trust_env=False),
        httpx.post(f"{served.url}/hooks/{hook.forge}", content=b"\xff", trust_env=False),
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(403, answers[0].content)}
    assert answers[0].headers["content-type"] == "application/problem+json"
    wrong = replace(hook, secret="a wrong one")
    wait_for(lambda: served.post(wrong).status_code == 403 and waiting(rabbit, HOOKS_QUEUE) > 0)
    told = taken(rabbit)
    assert {(found.refused, found.body, found.project) for found in told} == {
        ("its signature is wrong", "", "")
    }
    assert SECRET not in str(told)


@pytest.mark.parametrize(("age", "code"), [(0, 202), (-7200, 403)])
def test_a_signing_token_of_gitlab(served: Served, rabbit: Rabbit, age: int, code: int) -> None:
    hook = gitlab_merge("open")
    headers = {name: value for name, value in hook.headers.items() if name != "X-Gitlab-Token"}
    assert served.post(replace(hook, secret="")).status_code == 403
    when = str(int(time.time()) + age)
    digest = hmac.digest(SECRET.encode(), f"the-id.{when}.".encode() + hook.body, "sha256")
    headers |= {"webhook-id": "the-id", "webhook-timestamp": when}
    headers["webhook-signature"] = f"v1,bm9uZQ== v1,{base64.b64encode(digest).decode()}"
    address = f"{served.url}/hooks/gitlab"
    assert httpx.post(address, content=hook.body, headers=headers, trust_env=False).status_code == code
    answer = httpx.post(address, content=hook.body + b" ", headers=headers, trust_env=False)
    assert answer.status_code == 403, "the body is signed"


def test_sha1_only_where_it_is_enabled(served: Served, rabbit: Rabbit) -> None:
    hook = github_pull("opened")
    old = replace(hook, payload={**hook.payload, "repository": {"full_name": "octo-org/old"}})
    assert served.post(hook, **{"X-Hub-Signature-256": ""}).status_code == 403
    assert served.post(old, **{"X-Hub-Signature-256": ""}).status_code == 202
    assert (
        served.post(old, **{"X-Hub-Signature-256": "", "X-Hub-Signature": "sha1=" + "0" * 40}).status_code
        == 403
    )


def test_no_project_takes_as_long_as_a_wrong_secret(served: Served) -> None:
    """The medians of 200 calls each, one after the other in turns."""
    wrong = replace(github_pull("opened"), secret="a wrong one")
    unknown = replace(wrong, payload={**wrong.payload, "repository": {"full_name": "nobody/nothing"}})
    times: dict[str, list[float]] = {"wrong": [], "unknown": []}
    with httpx.Client(trust_env=False) as client:
        for _ in range(200):
            for name, hook in (("wrong", wrong), ("unknown", unknown)):
                body, headers = hook.body, hook.headers
                begin = time.perf_counter()
                client.post(f"{served.url}/hooks/github", content=body, headers=headers)
                times[name].append(time.perf_counter() - begin)
    first, second = (sorted(each)[100] for each in times.values())
    assert abs(first - second) < 0.5 * max(first, second)


def test_refused_ones_do_not_flood_the_audit_log(served: Served, rabbit: Rabbit) -> None:
    wrong = replace(github_pull("opened"), secret="a wrong one")
    with httpx.Client(trust_env=False) as client:
        for _ in range(100):
            client.post(f"{served.url}/hooks/github", content=wrong.body, headers=wrong.headers)
    time.sleep(1.1)
    served.post(wrong)
    wait_for(lambda: waiting(rabbit, HOOKS_QUEUE) > 0)
    time.sleep(0.2)
    told = taken(rabbit)
    assert len(told) <= 40
    assert len(told) + sum(found.left_out for found in told) >= 101


def test_a_ping_and_what_does_not_matter(served: Served, rabbit: Rabbit) -> None:
    ping = {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": {"full_name": PROJECT}}
    answers = [
        served.post(Hook("github", "ping", ping)),
        served.post(Hook("github", "ping", {"organization": {"login": "octo-org"}})),
        served.post(Hook("github", "star", {"action": "created", "repository": {"full_name": PROJECT}})),
    ]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "pong"),
        (200, "pong"),
        (200, "not relevant"),
    ]
    assert taken(rabbit) == []


def test_other_calls(served: Served) -> None:
    def status(method: str, path: str) -> int:
        return httpx.request(method, served.url + path, trust_env=False).status_code

    assert status("GET", "/health") == 200
    assert status("GET", "/hooks/github") == 405
    assert status("POST", "/hooks/sourceforge") == 404
    assert status("POST", "/hooks/") == 404
    assert status("POST", "/github") == 404
    assert status("POST", "/request.cgi?release=trixie") == 400


def test_sizes(served: Served, rabbit: Rabbit) -> None:
    large = github_pull("opened", filler="x" * (MOST_BYTES - 20_000))
    assert served.post(large).status_code == 202
    assert len(taken(rabbit)[0].body) == len(large.body)
    too_large = github_pull("opened", filler="x" * MOST_BYTES)
    answer = served.post(too_large)
    assert answer.status_code == 413
    assert str(MOST_BYTES) in answer.json()["detail"]

    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 65536 + 2):
            yield b"x" * 65536

    answer = httpx.post(f"{served.url}/hooks/github", content=pieces(), trust_env=False, timeout=20)
    assert answer.status_code == 413
    long_query = "release=noble&env=" + "x" * 8192  # half of it would be another test
    assert served.post(github_pull("opened"), f"/hooks/github?{long_query}").status_code == 414
    assert taken(rabbit) == []


def test_large_ones_of_each_forge(served: Served, rabbit: Rabbit) -> None:
    for hook in HOOKS:
        large = replace(hook, payload={"filler": "x" * 300_000, **hook.payload})
        assert served.post(large).status_code == 202
    assert len(taken(rabbit)) == len(HOOKS)
    body = b"payload=" + quote(replace(HOOKS[0], payload=large.payload | HOOKS[0].payload).body).encode()
    headers = HOOKS[0].headers | {"Content-Type": "application/x-www-form-urlencoded"}
    headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    answer = httpx.post(f"{served.url}/hooks/github", content=body, headers=headers, trust_env=False)
    assert answer.status_code == 202


def test_a_large_body_is_not_read_before_its_signature_is(served: Served) -> None:
    """4 MiB of `{}` become 100 MB of objects."""
    name = f'{{"repository":{{"full_name":"{PROJECT}"}},"x":['.encode()
    body = name + b"{}," * ((MOST_BYTES - 100) // 3) + b"{}]}"
    process = psutil.Process(served.pid)
    before = process.memory_info().rss
    for _ in range(3):
        answer = httpx.post(
            f"{served.url}/hooks/github",
            content=body,
            headers=github_pull("opened").headers,
            trust_env=False,
            timeout=20,
        )
        assert answer.status_code == 403
        assert process.memory_info().rss - before < 40 * 1024 * 1024


def test_the_client_is_who_a_trusted_proxy_says(served: Served, rabbit: Rabbit) -> None:
    served.post(github_pull("opened"), **{"X-Forwarded-For": "10.0.0.1, 192.0.2.7"})
    assert taken(rabbit)[0].address == "192.0.2.7"


@pytest.mark.parametrize(
    ("proxies", "address"), [('["127.0.0.0/8"]', "192.0.2.7"), ('["10.0.0.1"]', "127.0.0.1")]
)
def test_proxies_may_be_networks(rabbit: Rabbit, tmp_path: Path, proxies: str, address: str) -> None:
    found = load_webhook_settings({"TESTYARD_INTAKE__TRUSTED_PROXIES": proxies})
    app = WebhookApp(replace(found, broker_url=rabbit.url, projects=projects_file(tmp_path)))
    scope = {"client": ("127.0.0.1", 1)}
    assert app._client(scope, {"x-forwarded-for": "rubbish, 192.0.2.7"}) == address
    with pytest.raises(SettingsError, match="no network"):
        load_webhook_settings({"TESTYARD_INTAKE__TRUSTED_PROXIES": '["proxy.lan"]'})


def test_who_sends_half_a_body_holds_up_nobody(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        begin = time.monotonic()
        assert served.post(github_pull("opened")).status_code == 202
        assert time.monotonic() - begin < 2


def test_half_a_body_is_not_waited_for() -> None:
    with pytest.raises(ReplyError) as caught:
        asyncio.run(within(0.05, asyncio.sleep(60, b"")))
    assert caught.value.status == 408


def test_more_than_there_is_room_for_is_refused_and_the_room_given_back() -> None:
    room = Room(100)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"x" * 60, "more_body": True}

    with pytest.raises(ReplyError) as caught:
        asyncio.run(read_body(receive, {}, room, most=1000))
    assert (caught.value.status, caught.value.retry_after, room.left) == (503, 5, 100)


def test_projects_may_change_while_it_runs(rabbit: Rabbit, tmp_path: Path) -> None:
    projects = projects_file(tmp_path, "")
    with served_webhook(tmp_path, rabbit.url, projects) as served:
        hook = replace(github_pull("opened"), secret="a secret of tomorrow")
        assert served.post(hook).status_code == 403
        projects.write_text('[projects."github/octo-org/*"]\nsecret = "a secret of tomorrow"\n')
        wait_for(lambda: served.post(hook).status_code == 202)
        projects.write_text("[")
        wait_for(lambda: served.post(hook).status_code == 202 and "is no TOML" in served.log.read_text())
        assert "tomorrow" not in served.log.read_text()


def test_without_a_broker_nothing_is_pretended(tmp_path: Path) -> None:
    with served_webhook(tmp_path, "amqp://guest:guest@127.0.0.1:9/%2F", projects_file(tmp_path)) as served:
        answer = served.post(github_pull("opened"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        health = httpx.get(f"{served.url}/health", trust_env=False)
        assert (health.status_code, health.json()["healthy"]) == (503, False)
        assert served.post(replace(github_pull("opened"), secret="a wrong one")).status_code == 403
        assert "Traceback" not in served.log.read_text()


def test_it_is_small(served: Served) -> None:
    process = psutil.Process(served.pid)
    assert process.memory_info().rss < 80e6
    loaded = {
        Path(item.path).name.split(".")[0] for item in process.memory_maps() if item.path.endswith(".so")
    }
    assert not loaded & {"_pydantic_core", "_sqlite3"}


def test_settings_are_read_as_all_others_read_them(tmp_path: Path) -> None:
    assert load_webhook_settings({}) == WebhookSettings()
    with pytest.raises(SettingsError, match="no file"):
        load_webhook_settings({"TESTYARD_CONFIG": str(tmp_path / "none")})


def test_the_delivery_by_hand_of_the_documentation(served: Served, rabbit: Rabbit, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text()
    (block,) = (found for found in re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M) if "openssl" in found)
    (tmp_path / "pull.json").write_bytes(github_pull("opened").body)
    script = block.replace("https://tests.example.org", served.url).replace("a long random text", SECRET)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("curl -sS", "curl -sS --fail-with-body")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [delivery.event for delivery in taken(rabbit)] == ["pull_request"]
