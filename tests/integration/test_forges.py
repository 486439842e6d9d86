# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clients of the forges, against servers that keep to their documentation (tests/forges.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forges import APP_ID, TOKEN, ForgeServer, forge_server
from testyard.adapters.forge import Calls, Forge
from testyard.adapters.forges import Forges, forge_for
from testyard.adapters.github import RERUN
from testyard.adapters.outside import Outside
from testyard.errors import ForgeError
from testyard.intake.projects import Projects
from testyard.intake.report import Report
from testyard.intake.statuses import Shown
from testyard.result import Subtest

COMMIT = "c0ffee" * 6 + "c0ff"
FORGES = ("github", "gitlab", "forgejo", "gitea")
ENDS = [shown for shown in Shown if shown.final]


@pytest.fixture
def server() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


def client(
    server: ForgeServer, forge: str, tmp_path: Path, *, app: bool = False, token: str = TOKEN
) -> Forge:
    path = tmp_path / "projects.toml"
    key = f"app_id = {APP_ID}\nprivate_key = '''{server.private_key}'''" if app else f'token = "{token}"'
    path.write_text(f'[projects."{forge}/jane/tool"]\nsecret = "0123456789"\nurl = "{server.url}"\n{key}\n')
    project = Projects.read(path).of(forge, "jane/tool")
    assert project is not None
    return forge_for(project)


def report(shown: Shown, **more: object) -> Report:
    known = {
        "context": "noble/amd64",
        "commit": COMMIT,
        "request_id": "1-2-3",
        "title": "t" * 140,
        "summary": "words",
        "url": "https://tests.example.org/requests/1-2-3",
        "ended": 1000.0,
    }
    return Report(shown=shown, **{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("shown", list(Shown))
def test_every_state_is_one_that_the_forge_knows(
    server: ForgeServer, forge: str, shown: Shown, tmp_path: Path
) -> None:
    client(server, forge, tmp_path).show("jane/tool", report(shown), {}, first=True)
    (said,) = server.statuses
    assert (said.project, said.commit) == ("jane/tool", COMMIT)
    passes = shown in (Shown.PASS, Shown.NEUTRAL)
    assert (said.state == "success") == passes
    assert (said.state in ("pending", "running")) == (not shown.final)


@pytest.mark.parametrize("shown", list(Shown))
def test_every_conclusion_is_one_that_github_knows(server: ForgeServer, shown: Shown, tmp_path: Path) -> None:
    forge = client(server, "github", tmp_path, app=True)
    memo = forge.show("jane/tool", report(shown), {}, first=True)
    (run,) = server.checks.values()
    assert run["external_id"] == "1-2-3"
    assert memo == {"check": run["id"], "request": "1-2-3", "ended": shown.final}
    assert (run.get("conclusion") in ("success", "neutral")) == (shown in (Shown.PASS, Shown.NEUTRAL))
    assert [action["identifier"] for action in run["actions"]] == ([RERUN] if shown.final else [])


def test_a_check_run_goes_through_its_states(server: ForgeServer, tmp_path: Path) -> None:
    forge = client(server, "github", tmp_path, app=True)
    memo: dict[str, object] = {}
    for shown in (Shown.QUEUED, Shown.RUNNING, Shown.FAIL):
        failed = (Subtest("smoke", "FAIL", "non-zero exit status 1"),) * 50 if shown.final else ()
        memo = forge.show("jane/tool", report(shown, failed=failed), memo, first=not memo)
    assert server.check_states == {1: ["queued", "in_progress", "failure"]}
    note = server.checks[1]["output"]["annotations"][0]
    assert (note["title"], note["message"]) == ("smoke", "non-zero exit status 1")
    assert len(server.app_tokens) == 1, "the token is kept"
    # run again: a new check run; if the one before has not ended, that one goes on
    forge.show("jane/tool", report(Shown.QUEUED, request_id="4-5-6"), memo, first=False)
    assert len(server.checks) == 2
    forge.show("jane/tool", report(Shown.PASS, request_id="7-8-9"), {**memo, "ended": False}, first=False)
    assert server.checks[1]["external_id"] == "7-8-9"


def test_a_check_run_whose_number_was_lost_is_found(server: ForgeServer, tmp_path: Path) -> None:
    forge = client(server, "github", tmp_path, app=True)
    forge.show("jane/tool", report(Shown.QUEUED), {}, first=True)
    forge.show("jane/tool", report(Shown.QUEUED, request_id="other"), {}, first=True)
    memo = forge.show("jane/tool", report(Shown.PASS), {}, first=False)
    assert memo["check"] == 1
    assert server.check_states == {1: ["queued", "success"], 2: ["queued"]}


def test_a_summary_is_cut_between_lines(server: ForgeServer, tmp_path: Path) -> None:
    forge = client(server, "github", tmp_path, app=True)
    forge.show("jane/tool", report(Shown.FAIL, summary=("é" * 99 + "\n") * 1000), {}, first=True)
    (run,) = server.checks.values()
    assert run["output"]["summary"].endswith("é")
    assert len(run["output"]["summary"]) == 65499


def test_a_new_key_of_an_app_gets_a_new_client(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    clients, forges = [], Forges()
    for key in ("old", "old", "new"):
        path.write_text(
            f'[projects."github/a/b"]\nsecret = "0123456789"\napp_id = 1\nprivate_key = "{key}"\n'
        )
        project = Projects.read(path).of("github", "a/b")
        assert project is not None
        clients.append(forges.of(project))
    assert clients[0] is clients[1]
    assert clients[1] is not clients[2]


@pytest.mark.parametrize("forge", FORGES)
def test_a_wrong_token_is_refused(server: ForgeServer, forge: str, tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="status 401") as e:
        client(server, forge, tmp_path, token="wrong-token").show(
            "jane/tool", report(Shown.PASS), {}, first=True
        )
    assert e.value.refused
    assert not e.value.lasting
    assert "wrong-token" not in str(e.value)


def test_a_key_that_is_none(server: ForgeServer, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[projects."github/a/b"]\nsecret = "0123456789"\napp_id = 1\nprivate_key = "none"\n')
    project = Projects.read(path).of("github", "a/b")
    assert project is not None
    with pytest.raises(ForgeError, match="private_key"):
        forge_for(project).show("a/b", report(Shown.PASS), {}, first=True)


def test_an_installation_s_token_that_was_taken_back_is_asked_for_anew(
    server: ForgeServer, tmp_path: Path
) -> None:
    forge = client(server, "github", tmp_path, app=True)
    memo = forge.show("jane/tool", report(Shown.QUEUED), {}, first=True)
    server.app_tokens[:] = ["none-that-was-given"]
    with pytest.raises(ForgeError):
        forge.show("jane/tool", report(Shown.PASS), memo, first=False)
    forge.show("jane/tool", report(Shown.PASS), memo, first=False)
    assert server.check_states == {1: ["queued", "success"]}


def test_a_limit_in_words(server: ForgeServer, tmp_path: Path) -> None:
    server.refuse(403, message="You have exceeded a secondary rate limit. Please wait a few minutes.")
    with pytest.raises(ForgeError, match="secondary") as e:
        client(server, "github", tmp_path).show("jane/tool", report(Shown.PASS), {}, first=True)
    assert (e.value.refused, e.value.retry_after) == (False, 60)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "pause"),
    [
        (401, {}, "refused", None),
        (403, {}, "refused", None),
        (403, {"Retry_After": "7"}, "passing", 7),
        (403, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "in 30 s"}, "passing", 30),
        (404, {}, "refused", None),
        (400, {}, "lasting", None),
        (422, {}, "lasting", None),
        (429, {"Retry_After": "9"}, "passing", 9),
        (429, {"Retry_After": "99999999"}, "passing", 3600),
        (429, {"Retry_After": "soon"}, "passing", 60),
        (429, {}, "passing", 60),
        (500, {}, "passing", None),
        (503, {"Retry_After": "11"}, "passing", 11),
        (302, {}, "passing", None),
        (307, {"Location": "http://127.0.0.2/elsewhere"}, "lasting", None),
    ],
)
def test_what_a_refusal_means(
    server: ForgeServer, status: int, headers: dict[str, str], kind: str, pause: float | None, tmp_path: Path
) -> None:
    forge = client(server, "github", tmp_path)
    reset = {"X_RateLimit_Reset": str(int(time.time()) + 30)} if "X_RateLimit_Reset" in headers else {}
    server.refuse(status, times=2, **{**headers, **reset})
    with pytest.raises(ForgeError) as e:
        forge.show("jane/tool", report(Shown.PASS), {}, first=True)
    assert (e.value.refused, e.value.lasting) == (kind == "refused", kind == "lasting")
    assert e.value.retry_after == (pause if pause is None else pytest.approx(pause, abs=3))


def test_a_project_that_moved_is_followed_on_its_host(server: ForgeServer, tmp_path: Path) -> None:
    server.refuse(307, Location=f"/api/v3/repos/jane/new-name/statuses/{COMMIT}")
    client(server, "github", tmp_path).show("jane/tool", report(Shown.PASS), {}, first=True)
    assert server.statuses[0].project == "jane/new-name"


def test_a_forge_that_hangs(server: ForgeServer) -> None:
    server.hang = 1.0
    outside = Outside(inside=("127.0.0.1",), seconds=0.2)
    with pytest.raises(ForgeError, match="longer than") as e:
        Calls(f"{server.url}/api/v4", outside).call("GET", "/x", {})
    assert not e.value.lasting
    assert not e.value.refused


def test_all_calls_of_one_showing_take_so_long_at_most(server: ForgeServer) -> None:
    server.hang = 0.3
    calls = Calls(f"{server.url}/api/v4", Outside(inside=("127.0.0.1",))).within(0.7)
    begin = time.monotonic()
    found = []
    for _ in range(8):
        try:
            calls.call("GET", "/projects/a%2Fb", {"PRIVATE-TOKEN": TOKEN})
        except ForgeError as error:
            found.append(error.brief)
    assert "404" in found[0]
    assert "took" in found[-1]
    assert time.monotonic() - begin < 2


def test_gitlab_refuses_to_change_a_status_to_what_it_is(server: ForgeServer, tmp_path: Path) -> None:
    forge = client(server, "gitlab", tmp_path)
    for shown in (Shown.RUNNING, Shown.RUNNING, Shown.PASS):
        forge.show("jane/tool", report(shown), {}, first=True)
    assert server.states("noble/amd64") == ["running", "success"]


def test_gitlab_lets_a_run_not_go_back_to_waiting(server: ForgeServer, tmp_path: Path) -> None:
    forge = client(server, "gitlab", tmp_path)
    for shown in (Shown.RUNNING, Shown.QUEUED):
        forge.show("jane/tool", report(shown), {}, first=True)
    assert server.states("noble/amd64") == ["running"]


def test_a_merge_request_from_another_project_of_gitlab(server: ForgeServer, tmp_path: Path) -> None:
    server.unreachable.add(COMMIT)
    forge = client(server, "gitlab", tmp_path)
    with pytest.raises(ForgeError, match="References for commit"):
        forge.show("jane/tool", report(Shown.QUEUED), {}, first=True)
    for shown in (Shown.QUEUED, Shown.PASS):
        forge.show("jane/tool", report(shown, ref="refs/merge-requests/7/head"), {}, first=True)
    assert server.states("noble/amd64") == ["pending", "success"]
    assert server.statuses[0].body["ref"] == "refs/merge-requests/7/head"
    server.unreachable.clear()
    forge.show("jane/tool", report(Shown.PASS, ref="refs/merge-requests/7/head"), {}, first=True)
    assert "ref" not in server.statuses[-1].body, "in a branch of the project GitLab finds it by itself"


@pytest.mark.parametrize("forge", FORGES)
def test_names_that_lead_elsewhere(server: ForgeServer, forge: str, tmp_path: Path) -> None:
    found = client(server, forge, tmp_path)
    for project in ("../../admin", "jane", "jane/../x"):
        with pytest.raises(ForgeError, match="is not"):
            found.show(project, report(Shown.PASS), {}, first=True)
    with pytest.raises(ForgeError, match="no commit"):
        found.show("jane/tool", report(Shown.PASS, commit="HEAD/../.."), {}, first=True)
    assert server.calls == []


@pytest.mark.parametrize("forge", FORGES)
def test_who_may_push(server: ForgeServer, forge: str, tmp_path: Path) -> None:
    found = client(server, forge, tmp_path)
    values: dict[str, str | int] = {"dev": "write", "owns": "admin", "reads": "read"}
    if forge == "gitlab":
        values = {"dev": 30, "owns": 50, "reads": 20, "developer": 20}
    server.permissions = {("jane/tool", login): value for login, value in values.items()}
    for login in ("dev", "owns"):
        assert found.may_push("jane/tool", login)
    for login in ("reads", "nobody", "de"):
        assert not found.may_push("jane/tool", login)
    assert not client(server, forge, tmp_path, token="wrong-token").may_push("jane/tool", "dev")
    server.refuse(503)
    with pytest.raises(ForgeError, match="503"):
        found.may_push("jane/tool", "dev")


@pytest.mark.parametrize("forge", FORGES)
def test_a_pull_request_is_asked_for(server: ForgeServer, forge: str, tmp_path: Path) -> None:
    server.pulls["jane/tool", 7] = {"number": 7}
    found = client(server, forge, tmp_path)
    assert found.pull_request("jane/tool", 7) == {"number": 7}
    with pytest.raises(ForgeError, match="404"):
        found.pull_request("jane/tool", 8)
