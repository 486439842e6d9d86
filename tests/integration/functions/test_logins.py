# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logins with real providers: npm's oidc-provider, python3-openid's server side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import delete, select, update

from tests.asking import Asker
from tests.integration.functions.desk import Desk, form_token
from tests.logins.running import oidc_provider, openid2_provider
from testyard.intake import Identity, audit, sessions
from testyard.intake.audit import Action
from testyard.intake.schema import bucket, fact

US = "http://127.0.0.1:9"
NOBODY_LISTENS = "amqp://guest:guest@127.0.0.1:1/%2F"


class Places:
    """The function with a login of each kind, and the providers."""

    def __init__(self, folder: Path, idp: str, github: str, openid: str) -> None:
        self.idp, self.github, self.openid = idp, github, openid
        client = 'client_id = "id"\nclient_secret = "s3cret"\n'
        scopes = 'scopes = ["openid", "profile", "groups"]\nuser_claim = "preferred_username"\n'
        self.desk = Desk(
            folder,
            NOBODY_LISTENS,
            url=US,
            logins=f'[idp]\nkind = "oidc"\nname = "Our login"\nissuer = "{idp}"\n{client}{scopes}'
            f'[github]\nkind = "github"\nurl = "{github}"\n{client}'
            f'[launchpad]\nkind = "openid2"\nurl = "{openid}"\nteams = ["testers", "others"]\n',
        )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("logins")
    with ExitStack() as stack:
        idp = stack.enter_context(oidc_provider(folder, f"{US}/login/idp/callback"))
        github = stack.enter_context(oidc_provider(folder, f"{US}/login/github/callback", github=True))
        openid = stack.enter_context(openid2_provider())
        yield Places(folder, idp, github, openid)


@pytest.fixture(autouse=True)
def fresh_limits(places: Places) -> None:
    """All come from one address, which may take 60 steps at once."""
    with places.desk.memory.begin() as memory:
        memory.execute(delete(bucket))


def at_provider(url: str, name: str) -> str:
    """What a person does at oidc-provider; returns where it sends them: back to us."""
    with httpx.Client(trust_env=False, timeout=20) as browser:
        answer = browser.get(url)
        for _ in range(12):
            if answer.is_redirect:
                target = str(answer.next_request.url if answer.next_request else "")
                if target.startswith(US):
                    return target
                answer = browser.get(target)
                continue
            action = re.search(r'action="([^"]*)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]*)"', answer.text)
            assert action, answer.text
            assert prompt
            data = {"prompt": prompt[1], "login": name, "password": "x"}
            answer = browser.post(action[1], data=data)
    raise AssertionError("the provider does not come to an end")


def at_openid(places: Places, url: str, name: str) -> str:
    httpx.get(f"{places.openid}as/{name}", trust_env=False)
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def start(browser: Asker, key: str, way_back: str = "/request?package=gzip") -> str:
    answer = browser.get(f"/login/{key}?{urlencode({'next': way_back})}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def path_of(url: str) -> str:
    assert url.startswith(f"{US}/")
    return url.removeprefix(US)


def who_is(places: Places, browser: Asker) -> Identity | None:
    with places.desk.memory.connect() as memory:
        return sessions.identify(memory, browser.cookies.get("testyard") or "")


@pytest.mark.parametrize(
    ("key", "name", "owner", "login", "groups"),
    [
        ("idp", "jane", "idp/jane-p", "jane-p", ("idp/testers", "idp/devel/core")),
        ("github", "jane", "github/jane", "jane", ("github/testers", "github/devel/core")),
        ("github", "joe", "github/joe", "joe", ()),
        ("launchpad", "jane", "launchpad/jane", "jane", ("launchpad/testers",)),
        ("launchpad", "joe", "launchpad/joe", "joe", ()),
    ],
)
def test_a_person_logs_in_comes_back_and_logs_out(
    places: Places, key: str, name: str, owner: str, login: str, groups: tuple[str, ...]
) -> None:
    with places.desk.visitor() as browser:
        url = start(browser, key)
        back = at_openid(places, url, name) if key == "launchpad" else at_provider(url, name)
        done = browser.get(path_of(back))
        assert (done.status_code, done.headers["location"]) == (303, "/request?package=gzip")
        cookie = next(each for each in done.headers.get_list("set-cookie") if each.startswith("testyard="))
        assert all(word in cookie for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"))
        who = who_is(places, browser)
        assert who is not None
        assert (who.owner, who.login, who.groups) == (owner, login, groups)
        page = browser.get("/request?package=gzip")
        assert (page.status_code, login in page.text) == (200, True)
        old = browser.cookies.get("testyard")
        out = browser.post("/logout", data={"csrf": form_token(page.text)})
        assert out.status_code == 303
        browser.cookies.set("testyard", old or "")
        assert browser.get("/request").status_code == 403, "ended here, not only in the browser"
    with places.desk.memory.connect() as memory:
        actions = [deed.action for _, deed in audit.deeds(memory, owner=owner)]
    assert actions[:2] == [Action.LOGOUT, Action.LOGIN]


def test_a_login_can_be_finished_once_in_the_browser_that_began_it(places: Places) -> None:
    with places.desk.visitor() as browser, places.desk.visitor() as other:
        back = path_of(at_provider(start(browser, "idp"), "jane"))
        start(other, "idp")
        # a page that makes somebody log in as another: their browser did not begin this
        assert other.get(back).status_code == 403
        assert who_is(places, other) is None
        assert browser.get(back).status_code == 403, "whoever tried it elsewhere has used it up"
        back = path_of(at_provider(start(browser, "idp"), "jane"))
        assert browser.get(back).status_code == 303
        assert browser.get(back).status_code == 403


@pytest.mark.parametrize("key", ["github", "launchpad"])
def test_an_answer_is_for_its_own_place(places: Places, key: str) -> None:
    with places.desk.visitor() as browser:
        back = path_of(at_provider(start(browser, "idp"), "jane"))
        answer = browser.get(back.replace("/login/idp/", f"/login/{key}/"))
        assert answer.status_code == 403
        assert who_is(places, browser) is None


def test_what_somebody_changed_on_the_way_is_refused(places: Places) -> None:
    changes = {
        "state": "x" * 43,
        "code": "stolen",
        "iss": "https://evil.example",
        "error": "access_denied",
    }
    for name, value in changes.items():
        with places.desk.visitor() as browser:
            back = path_of(at_provider(start(browser, "idp"), "jane"))
            path, _, query = back.partition("?")
            wrong = {**dict(parse_qsl(query)), name: value}
            answer = browser.get(f"{path}?{urlencode(wrong)}")
            assert answer.status_code == 403, name
            assert who_is(places, browser) is None


def test_the_code_is_worth_nothing_without_what_stayed_here(places: Places) -> None:
    with places.desk.visitor() as browser:
        url = start(browser, "idp")
        query = parse_qs(urlsplit(url).query)
        assert query["code_challenge_method"] == ["S256"]
        with places.desk.memory.begin() as memory:
            rows = memory.execute(select(fact).where(fact.c.key.startswith("login/"))).all()
            for row in rows:
                changed = {**row.value, "verifier": "x" * 64}
                memory.execute(update(fact).where(fact.c.key == row.key).values(value=changed))
        assert browser.get(path_of(at_provider(url, "jane"))).status_code == 403


def test_another_nonce_is_refused(places: Places) -> None:
    with places.desk.visitor() as browser:
        url = start(browser, "idp")
        with places.desk.memory.begin() as memory:
            for row in memory.execute(select(fact).where(fact.c.key.startswith("login/"))).all():
                changed = {**row.value, "nonce": "another"}
                memory.execute(update(fact).where(fact.c.key == row.key).values(value=changed))
        assert browser.get(path_of(at_provider(url, "jane"))).status_code == 403
        assert who_is(places, browser) is None


def test_too_late_is_too_late(places: Places) -> None:
    with places.desk.visitor() as browser:
        back = path_of(at_provider(start(browser, "idp"), "jane"))
        with places.desk.memory.begin() as memory:
            memory.execute(update(fact).values(expires=1.0))
        assert browser.get(back).status_code == 403


def test_no_name_can_be_another_owners(places: Places) -> None:
    with places.desk.visitor() as browser:
        # GitHub has no such names; a provider of one's own may
        answer = browser.get(path_of(at_provider(start(browser, "github"), "a/b")))
        assert answer.status_code == 403
        assert who_is(places, browser) is None


def openid_answer(places: Places, browser: Asker, **changed: str) -> httpx.Response:
    back = path_of(at_openid(places, start(browser, "launchpad"), "jane"))
    path, _, query = back.partition("?")
    return browser.get(f"{path}?{urlencode({**dict(parse_qsl(query)), **changed})}")


@pytest.mark.parametrize(
    "changed",
    [
        {"openid.sreg.nickname": "boss"},
        {"openid.lp.is_member": "admins"},
        {"openid.claimed_id": "https://evil.example/jane", "openid.identity": "https://evil.example/jane"},
        {"openid.op_endpoint": "https://evil.example/openid"},
        {"openid.op_endpoint": ""},
        {"openid.sig": "AAAA"},
        {"openid.mode": "cancel"},
        {"openid.mode": "nonsense"},
        {"openid.return_to": "https://evil.example/"},
        {"openid.ns": "http://openid.net/signon/1.1"},
        {"openid.signed": "op_endpoint"},
    ],
)
def test_openid_answers_that_the_provider_did_not_give_are_refused(
    places: Places, changed: dict[str, str]
) -> None:
    with places.desk.visitor() as browser:
        answer = openid_answer(places, browser, **changed)
        assert answer.status_code == 403, answer.text
        assert who_is(places, browser) is None


def test_another_openid_provider_cannot_vouch_for_anybody(places: Places) -> None:
    with openid2_provider() as evil, places.desk.visitor() as browser:
        url = start(browser, "launchpad")
        query = dict(parse_qsl(urlsplit(url).query))
        httpx.get(f"{evil}as/boss", trust_env=False)
        answer = httpx.get(f"{evil}openid?{urlencode(query)}", trust_env=False)
        done = browser.get(path_of(answer.headers["location"]))
        assert done.status_code == 403
        assert who_is(places, browser) is None


def test_nobody_at_the_provider_is_nobody_here(places: Places) -> None:
    with places.desk.visitor() as browser:
        assert browser.get(path_of(at_openid(places, start(browser, "launchpad"), ""))).status_code == 403


@pytest.mark.parametrize(
    "way_back",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "evil",
        "/\t/x",
        "/a\r\nSet-Cookie: x=1",
        "/ä",
        "/x" * 5000,
    ],
)
def test_the_way_back_is_to_us(places: Places, way_back: str) -> None:
    with places.desk.visitor() as browser:
        done = browser.get(path_of(at_openid(places, start(browser, "launchpad", way_back), "jane")))
        assert done.headers["location"] == "/request"
        again = browser.get(f"/login?{urlencode({'next': way_back})}")
        assert again.headers["location"] == "/request"


def test_a_login_begins_a_session_of_its_own(places: Places) -> None:
    with places.desk.visitor() as browser:
        given = places.desk.session("idp/attacker")
        browser.cookies.set("testyard", given)
        browser.get(path_of(at_openid(places, start(browser, "launchpad"), "jane")))
        with places.desk.memory.connect() as memory:
            assert sessions.identify(memory, given) is None
        values = [each.value for each in browser.cookies.jar if each.name == "testyard"]
        assert any(value != given for value in values)


def test_over_tls_cookies_are_for_this_host_only(tmp_path: Path, places: Places) -> None:
    logins = f'[launchpad]\nkind = "openid2"\nurl = "{places.openid}"\n'
    desk = Desk(tmp_path, NOBODY_LISTENS, url="https://tests.example", logins=logins)
    with desk.visitor() as browser:
        url = start(browser, "launchpad")
        done = browser.get(at_openid(places, url, "jane").removeprefix("https://tests.example"))
        cookie = next(each for each in done.headers.get_list("set-cookie") if "Max-Age=43200" in each)
        assert cookie.startswith("__Host-testyard=")
        assert "Secure" in cookie
        assert "Domain" not in cookie
        assert browser.get("/tokens").status_code == 200


def test_a_provider_that_is_away_is_told(tmp_path: Path) -> None:
    client = 'client_id = "id"\nclient_secret = "x"\n'
    desk = Desk(
        tmp_path,
        NOBODY_LISTENS,
        url=US,
        logins=f'[idp]\nkind = "oidc"\nissuer = "http://127.0.0.1:1"\n{client}'
        '[launchpad]\nkind = "openid2"\nurl = "http://127.0.0.1:1/"\n',
    )
    with desk.visitor() as browser:
        for key in ("idp", "launchpad"):
            answer = browser.get(f"/login/{key}")
            assert (answer.status_code, "Traceback" in answer.text) == (503, False)
            assert answer.headers["retry-after"]
        assert browser.get("/login/idp/callback?state=x").status_code == 403
