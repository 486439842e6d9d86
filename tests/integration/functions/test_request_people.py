# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens, and who has logged in with one, as browsers see them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.functions.desk import Desk, cgi, form_token
from tests.servers import Rabbit
from testyard.intake import Scope, audit, tokens
from testyard.intake.audit import Action
from testyard.intake.schema import asked
from testyard.request import new_request_id


def test_tokens_are_made_shown_once_used_and_revoked(desk: Desk) -> None:
    with desk.visitor("github/maker") as browser, desk.visitor() as script:
        page = browser.get("/tokens")
        assert "You have no tokens" in page.text
        csrf = form_token(page.text)
        form = {"csrf": csrf, "name": "my <b> script", "scope": ["request", "cancel"], "days": "30"}
        made = browser.post("/tokens", data=form)
        text = re.search(r"ty_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", made.text)
        assert text is not None
        assert "my &lt;b&gt; script" in made.text
        assert text[0] not in browser.get("/tokens").text
        headers = {"Authorization": f"Bearer {text[0]}"}
        assert script.get(cgi(), headers=headers).status_code == 200
        assert script.get("/tokens", headers=headers).status_code == 403, "a token makes no tokens"
        token_id = text[0].split("_")[1]
        with desk.visitor("github/other") as other:
            theirs = {"csrf": form_token(other.get("/tokens").text)}
            assert other.post(f"/tokens/{token_id}/revoke", data=theirs).status_code == 404
        assert browser.post(f"/tokens/{token_id}/revoke", data={"csrf": "x"}).status_code == 403
        assert script.get(cgi(), headers=headers).status_code == 200
        assert browser.post(f"/tokens/{token_id}/revoke", data={"csrf": csrf}).status_code == 303
        assert script.get(cgi(), headers=headers).status_code == 401
    with desk.memory.connect() as memory:
        actions = [deed.action for _, deed in audit.deeds(memory, owner="github/maker")]
    assert actions[:1] == [Action.TOKEN_REVOKED]
    assert actions[-1:] == [Action.TOKEN_MADE]


@pytest.mark.parametrize(
    "form",
    [
        {"name": "", "scope": "request", "days": "30"},
        {"name": "x", "days": "30"},
        {"name": "x", "scope": "admin", "days": "30"},
        {"name": "x", "scope": ["request", "queue"], "days": "30"},
        {"name": "x", "scope": "request", "days": "100000"},
        {"name": "x" * 101, "scope": "request", "days": "30"},
    ],
)
def test_no_page_makes_a_token_that_people_may_not_have(desk: Desk, form: dict[str, str]) -> None:
    with desk.visitor("github/jane") as browser:
        csrf = form_token(browser.get("/tokens").text)
        answer = browser.post("/tokens", data={"csrf": csrf, **form})
    assert answer.status_code == 400
    assert "ty_" not in answer.text.replace("ty_…", "")


def test_a_token_logs_a_browser_in_for_what_it_may_and_as_long_as_it_lasts(desk: Desk) -> None:
    text = desk.token("github/jane", Scope.CANCEL)["Authorization"].removeprefix("Bearer ")
    with desk.visitor() as browser:
        page = browser.get("/request")
        assert (page.status_code, 'action="/login/token"' in page.text) == (403, True)
        wrong = browser.post("/login/token", data={"token": text[:-1] + "é", "next": "/request"})
        assert (wrong.status_code, "opens nothing here" in wrong.text) == (403, True)
        answer = browser.post("/login/token", data={"token": f" {text} ", "next": "//evil.example"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/request")
        form = browser.get("/request")
        assert form.status_code == 200
        sent = browser.post(
            "/request",
            data={"csrf": form_token(form.text), "package": "gzip", "release": "noble", "arch": "amd64"},
        )
        assert (sent.status_code, desk.queued()) == (403, [])  # a token for cancelling asks for nothing
        with desk.memory.begin() as memory:
            tokens.revoke(memory, text.split("_")[1])
        assert browser.get("/request").status_code == 403


def test_who_has_logged_in_with_a_token_is_a_person_all_the_same(desk: Desk) -> None:
    text = desk.token("github/jane")["Authorization"].removeprefix("Bearer ")
    words = {"package": "gzip", "release": "noble", "arch": "amd64", "trigger": "gzip/1"}
    with desk.visitor() as browser:
        browser.post("/login/token", data={"token": text})
        # a link or a form on a stranger's page does nothing in their name
        asked = browser.get("/request.cgi", params=words)
        assert (asked.status_code, "Send this request?" in asked.text, desk.queued()) == (200, True, [])
        for address in ("/request", "/request.cgi"):
            assert browser.post(address, data=words).status_code == 403
        # a token makes no other: it would outlive the first
        for answer in (browser.get("/tokens"), browser.post("/tokens", data={"name": "more"})):
            assert (answer.status_code, "neither makes nor revokes" in answer.text) == (403, True)
        assert desk.queued() == []
        sent = browser.post("/request.cgi", data={"csrf": form_token(asked.text), **words})
        assert (sent.status_code, len(desk.queued())) == (200, 1)


def test_another_site_logs_nobody_in(desk: Desk) -> None:
    text = desk.token()["Authorization"].removeprefix("Bearer ")
    with desk.visitor() as browser:
        for told in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://evil.example"},  # as on plain http
            {"Origin": "null"},
            {"Referer": "http://evil.example/"},
        ):
            answer = browser.post("/login/token", data={"token": text}, headers=told)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
        own = browser.post("/login/token", data={"token": text}, headers={"Origin": "http://t"})
        assert own.status_code == 303


def test_what_is_private_is_told_to_no_log_by_a_limit(rabbit: Rabbit, tmp_path: Path) -> None:
    desk = Desk(tmp_path, rabbit.url, rates={"identity_burst": 1, "identity_per_minute": 0.01})
    row = {
        "request_id": new_request_id(), "queue": "debci-noble-amd64", "package": "hush", "fingerprint": "x",
        "owner": "github/secretive", "private": 1, "created": 1.0, "sent": 1.0,
        "body": b'hush\n{"triggers": ["hush/1"], "swiftuser": "whisperer"}',
    }  # fmt: skip
    with desk.memory.begin() as memory:
        memory.execute(asked.insert().values(**row))
    with desk.visitor() as script:
        headers = desk.token("github/secretive", Scope.REQUEST, Scope.READ_PRIVATE)
        path = f"/api/v1/retry/{row['request_id']}"
        codes = [script.get(path, headers=headers).status_code for _ in range(2)]
    assert codes == [403, 429]
    with desk.memory.connect() as memory:
        lines = [dict(deed.details) for _, deed in audit.deeds(memory, owner="github/secretive")]
    assert len(lines) == 2
    assert "hush" not in str(lines)


@pytest.mark.parametrize("what", ["again", "cancel"])
def test_looking_for_what_is_not_there_counts(rabbit: Rabbit, tmp_path: Path, what: str) -> None:
    limits = {"identity_burst": 3, "identity_per_minute": 0.01}
    desk = Desk(tmp_path, rabbit.url, rates=limits)
    with desk.visitor() as script:
        headers = desk.token("github/lost", Scope.REQUEST, Scope.CANCEL)
        unknown = new_request_id()
        if what == "again":
            codes = [script.get(f"/api/v1/retry/{unknown}", headers=headers).status_code for _ in range(5)]
        else:
            codes = [
                script.delete(f"/api/v1/requests/{unknown}", headers=headers).status_code for _ in range(5)
            ]
    assert codes == [404, 404, 404, 429, 429]
    with desk.memory.connect() as memory:
        assert len(audit.deeds(memory, owner="github/lost", actions=[Action.REFUSED])) == 5
