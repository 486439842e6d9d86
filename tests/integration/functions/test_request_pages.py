# SPDX-License-Identifier: AGPL-3.0-or-later
"""``/request.cgi`` and ``/request``, with a real RabbitMQ: old clients, people, and what must not work."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.integration.functions.desk import Desk, cgi, form_token
from tests.servers import Rabbit
from testyard.intake import Scope, audit
from testyard.intake.audit import Action
from testyard.intake.schema import asked
from testyard.queue import QueueName
from testyard.request import new_request_id

NOBLE = QueueName("ubuntu", "noble", "amd64")


def hidden(page: str) -> list[tuple[str, str]]:
    return re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.split("<main", 1)[1])


def test_an_old_clients_get_with_a_token_is_sent_at_once(desk: Desk) -> None:
    with desk.visitor() as script:
        answer = script.get(cgi(arch=["amd64", "arm64"], ppa=["a/one", "b/two"]), headers=desk.token())
    assert answer.status_code == 200
    assert "Test request submitted" in answer.text
    found = desk.queued()
    assert {str(queue) for queue, _ in found} == {"debci-ppa-noble-amd64", "debci-ppa-noble-arm64"}
    assert all(request.package == "gzip" and request.ppas == ("a/one", "b/two") for _, request in found)
    assert all(
        request.triggers == ("gzip/1.12-1ubuntu3",) and request.requester == "jane" for _, request in found
    )
    assert all(f"/requests/{request.uuid}" in answer.text for _, request in found)


def test_all_parameters_mean_what_they_meant(desk: Desk) -> None:
    boss = desk.token("github/boss")
    address = cgi(
        trigger=["gzip/1", "sed/2"], env=["A=1;B=two words", "C=3"], all_proposed="1", testname="smoke",
        readable_by="github/jane",
    )  # fmt: skip
    with desk.visitor() as script:
        answer = script.get(address, headers=boss)
    assert answer.status_code == 200, answer.text
    [(_, request)] = desk.queued()
    assert request.triggers == ("gzip/1", "sed/2")
    assert request.env == ("A=1", "B=two words", "C=3")
    assert (request.all_proposed, request.testname, request.readable_by) == (True, "smoke", ("github/jane",))
    with desk.memory.connect() as memory:
        lines = [deed for _, deed in audit.deeds(memory, request_id=request.uuid or "")]
    assert [line.action for line in lines] == [Action.ACCEPTED]
    assert "gzip" not in str(lines), "a private request's name is in no log"


def test_json_and_text_on_request(desk: Desk) -> None:
    with desk.visitor() as script:
        one = script.get(cgi(), headers={**desk.token(), "Accept": "application/json"})
        two = script.get(cgi(package="sed"), headers={**desk.token(), "Accept": "text/plain"})
        bad = script.get(cgi(release="nosuch"), headers={**desk.token(), "Accept": "application/json"})
        ugly = script.get(cgi(release="nosuch"), headers={**desk.token(), "Accept": "text/plain"})
    body = one.json()
    [(_, request)] = [each for each in desk.queued() if each[1].package == "gzip"]
    assert body["message"] == "Test request submitted."
    assert [item["request_id"] for item in body["requests"]] == [request.uuid]
    assert body["requests"][0]["url"] == f"http://t/requests/{request.uuid}"
    assert two.text.startswith("Test request submitted.\nnoble amd64: accepted ")
    assert bad.headers["content-type"] == "application/problem+json"
    assert (bad.json()["status"], bad.json()["errors"][0]["field"]) == (404, "release")
    assert (ugly.status_code, ugly.text) == (404, "release nosuch not found\n")


@pytest.mark.parametrize(
    ("values", "status", "phrase"),
    [
        ({"package": ""}, 400, "You have passed invalid args"),
        ({"release": ""}, 400, "You have passed invalid args"),
        ({"trigger": ""}, 400, "You have passed invalid args"),
        ({"arch": ""}, 400, "You have passed invalid args"),
        ({"nosuch": "1"}, 400, "You have passed invalid args"),
        ({"package": ["gzip", "sed"]}, 400, "You have passed invalid args"),
        ({"release": "nosuch"}, 404, "release nosuch not found"),
        ({"arch": "vax"}, 404, "arch vax not found"),
        ({"arch": ["amd64", "vax"]}, 404, "arch vax not found"),
        ({"trigger": "gzip"}, 400, "Malformed trigger, must be srcpackage/version"),
        ({"trigger": "gzip/1/2"}, 400, "Malformed trigger, must be srcpackage/version"),
        ({"trigger": "gzip/1_2"}, 400, "Malformed trigger: gzip version: 1_2"),
        ({"all_proposed": "2"}, 400, "all-proposed"),
        ({"ppa": "nonsense"}, 400, "ppas: each must be owner/name"),
        ({"package": "UPPER"}, 400, "package"),
        ({"package": "../x"}, 400, "package"),
        ({"trigger": ["migration-reference/0", "gzip/1"]}, 400, "migration-reference/0"),
        ({"build_git": "file:///etc/passwd"}, 400, "build-git"),
        ({"env": "A=1"}, 403, "may not"),
        ({"readable_by": "x"}, 403, "may not"),
    ],
)
def test_what_is_wrong_is_told_in_the_old_words_and_nothing_is_sent(
    desk: Desk, values: dict[str, str], status: int, phrase: str
) -> None:
    with desk.visitor() as script:
        answer = script.get(cgi(**values), headers={**desk.token(), "Accept": "text/plain"})
    assert (answer.status_code, phrase in answer.text) == (status, True), answer.text
    assert desk.queued() == []
    assert desk.remembered() == 0


def test_refusals_are_in_the_audit_log(desk: Desk) -> None:
    with desk.visitor() as script:
        script.get(cgi(release="nosuch"), headers=desk.token("github/refused"))
    with desk.memory.connect() as memory:
        lines = [deed for _, deed in audit.deeds(memory, owner="github/refused")]
    assert [line.action for line in lines] == [Action.REFUSED]
    assert lines[0].details["reason"] == "release nosuch not found"


@pytest.mark.parametrize("path", ["/request.cgi", "/request"])
def test_what_is_malformed_counts_and_is_in_the_audit_log(rabbit: Rabbit, tmp_path: Path, path: str) -> None:
    desk = Desk(tmp_path, rabbit.url, rates={"identity_burst": 3, "identity_per_minute": 0.01})
    with desk.visitor() as script:
        headers = {**desk.token("github/lost"), "Accept": "text/plain"}
        answers = [script.get(f"{path}?nosuch=1", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
    with desk.memory.connect() as memory:
        lines = [deed for _, deed in audit.deeds(memory, owner="github/lost")]
    assert [line.action for line in lines] == [Action.REFUSED] * 4
    assert "'nosuch' is unknown" in lines[-1].details["reason"]


def test_refusals_of_what_only_an_account_may_read_say_nothing(desk: Desk) -> None:
    body = b'hush\n{"triggers": ["hush/1"], "swiftuser": "whisperer"}'
    row = {
        "request_id": new_request_id(), "queue": "debci-noble-amd64", "package": "hush", "fingerprint": "x",
        "owner": "github/secretive", "private": 1, "body": body, "created": 1.0, "sent": 1.0,
    }  # fmt: skip
    with desk.memory.begin() as memory:
        memory.execute(asked.insert().values(**row))
    with desk.visitor() as script:
        headers = desk.token("github/secretive", Scope.REQUEST, Scope.READ_PRIVATE)
        refused = script.get(f"/api/v1/retry/{row['request_id']}", headers=headers)
    assert refused.status_code == 403
    with desk.memory.connect() as memory:
        ((_, line),) = audit.deeds(memory, owner="github/secretive", actions=[Action.REFUSED])
    assert line.details == {}


def test_what_waits_already_is_not_sent_twice(desk: Desk) -> None:
    with desk.visitor() as script:
        headers = {**desk.token(), "Accept": "text/plain"}
        first = script.get(cgi(), headers=headers)
        again = script.get(cgi(), headers=headers)
        forced = script.get(cgi(force="1"), headers=headers)
    assert "submitted" in first.text
    assert (again.status_code, again.text.startswith("Test already queued: ")) == (200, True)
    assert "submitted" in forced.text
    assert len(desk.queued()) == 2


def test_nobody_logs_in_first_and_comes_back(desk: Desk) -> None:
    with desk.visitor() as browser:
        for path in (cgi(), "/request", "/tokens"):
            answer = browser.get(path)
            assert answer.status_code == 403
            link = re.search(r'href="/login/github\?next=([^"]*)"', answer.text)
            assert link is not None
            assert dict(parse_qsl("next=" + link[1]))["next"] == path
        assert browser.post("/request.cgi", data={"package": "gzip"}).status_code == 403
    assert desk.queued() == []


def test_a_person_confirms_what_a_link_would_send(desk: Desk) -> None:
    with desk.visitor("github/jane") as browser:
        page = browser.get(cgi(arch=["amd64", "arm64"], env="", trigger=["gzip/1", "b-c/2+x~1"]))
        assert page.status_code == 200
        assert "Send 2 requests" in page.text
        assert desk.queued() == []
        fields = hidden(page.text)
        data: dict[str, list[str]] = {}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        done = browser.post("/request.cgi", data=data)
    assert "Test request submitted" in done.text
    found = desk.queued()
    assert len(found) == 2
    assert {request.triggers for _, request in found} == {("gzip/1", "b-c/2+x~1")}


@pytest.mark.parametrize("token", [None, "", "x", "0" * 64, "another's"])
def test_a_form_of_another_site_does_nothing(desk: Desk, token: str | None) -> None:
    data = dict(parse_qsl(urlsplit(cgi()).query))
    with desk.visitor("github/jane") as browser, desk.visitor("github/jane") as other:
        if token is not None:
            data["csrf"] = form_token(other.get("/request").text) if token == "another's" else token
        answers = [browser.post(path, data=data) for path in ("/request.cgi", "/request")]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert browser.post("/tokens", data={**data, "name": "x", "scope": "request"}).status_code == 403
        assert browser.post("/logout", data=data).status_code == 403
        assert browser.get("/request").status_code == 200, "still logged in"
    assert desk.queued() == []


def test_the_form_takes_several_and_keeps_what_was_typed(desk: Desk) -> None:
    with desk.visitor("github/jane") as browser:
        page = browser.get("/request?package=gzip&arch=arm64&trigger=gzip/1")
        assert 'value="gzip"' in page.text
        assert re.search(r'value="arm64" checked', page.text)
        typed = {
            "csrf": form_token(page.text), "package": "gzip", "release": "noble", "arch": ["amd64", "arm64"],
            "trigger": "gzip/1\r\nsed/2 <x>", "env": "", "ppa": "", "testname": "", "build-git": "",
            "test-git": "", "readable-by": "",
        }  # fmt: skip
        wrong = browser.post("/request", data=typed)
        assert wrong.status_code == 400
        assert "Malformed trigger" in wrong.text
        assert "sed/2\n&lt;x&gt;" in wrong.text
        right = browser.post("/request", data={**typed, "trigger": "gzip/1\r\nsed/2"})
    assert "Test request submitted" in right.text
    assert [request.triggers for _, request in desk.queued()] == [("gzip/1", "sed/2")] * 2


def test_a_token_that_is_not_for_requests_sends_none(desk: Desk) -> None:
    with desk.visitor() as script:
        answer = script.get(
            cgi(), headers={**desk.token("github/jane", Scope.CANCEL), "Accept": "text/plain"}
        )
        wrong = script.get(cgi(), headers={"Authorization": "Bearer x"})
    assert (answer.status_code, "scope" in answer.text) == (403, True)
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert desk.queued() == []


def test_where_a_get_must_not_send_a_script_posts(rabbit: Rabbit, tmp_path: Path) -> None:
    desk = Desk(tmp_path, rabbit.url, get_submits="never")
    with desk.visitor() as script:
        got = script.get(cgi(), headers={**desk.token(), "Accept": "text/plain"})
        assert (got.status_code, got.headers["allow"]) == (405, "POST")
        assert desk.queued() == []
        posted = script.post(
            "/request.cgi", data=dict(parse_qsl(urlsplit(cgi()).query)), headers=desk.token()
        )
    assert "Test request submitted" in posted.text
    assert len(desk.queued()) == 1


def test_a_broker_that_is_away_is_told_and_nothing_pretended(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "amqp://guest:guest@127.0.0.1:1/%2F")
    with desk.visitor() as script:
        answer = script.get(cgi(), headers=desk.token())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "submitted" not in answer.text
    assert desk.remembered() == 0


def test_forms_have_limits(desk: Desk) -> None:
    with desk.visitor("github/jane") as browser:
        large = browser.post("/request", data={"package": "x" * 300_000})
        many = browser.post("/request", data={f"a{n}": "1" for n in range(3000)})
        kind = browser.post("/request", json={"package": "gzip"})
    assert [large.status_code, many.status_code, kind.status_code] == [413, 400, 415]


def test_every_answer_has_safe_headers(desk: Desk) -> None:
    with desk.visitor("github/jane") as browser:
        for path in ("/request", cgi(), "/tokens", "/nosuch", "/login/nosuch", cgi(release="x")):
            headers = browser.get(path).headers
            assert "script-src 'self'" in headers["content-security-policy"], path
            assert headers["cache-control"] == "no-store"
        assert browser.get("/nosuch").status_code == 404
        assert browser.get("/logout").status_code == 405
        for path in re.findall(r'(?:href|src)="(/(?:static/|favicon)[^"]*)"', browser.get("/request").text):
            assert browser.get(path).status_code == 200, path


def test_a_retry_link_is_confirmed_by_a_person_and_sent_by_a_token(desk: Desk) -> None:
    with desk.visitor() as script:
        answer = script.get(cgi(ppa="a/one"), headers={**desk.token(), "Accept": "application/json"})
        request_id = answer.json()["requests"][0]["request_id"]
        desk.queued()
        link = f"/api/v1/retry/{request_id}"
        assert script.get(link).status_code == 403
        again = script.get(link, headers={**desk.token(), "Accept": "text/plain"})
        assert again.text.startswith("Test already queued: ")
        assert script.get("/api/v1/retry/20260105_120000_abcde@", headers=desk.token()).status_code == 404
    with desk.visitor("github/jane") as browser:
        page = browser.get(link)
        assert "Send this request?" in page.text
        assert desk.queued() == []
        data = {**dict(hidden(page.text)), "force": "1"}
        assert browser.post("/request/again", data={**data, "csrf": "x"}).status_code == 403
        done = browser.post("/request/again", data=data)
    assert "Test request submitted" in done.text
    [(queue, request)] = desk.queued()
    assert (str(queue), request.ppas, request.triggers) == (
        "debci-ppa-noble-amd64",
        ("a/one",),
        ("gzip/1.12-1ubuntu3",),
    )
