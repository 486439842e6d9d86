# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever an address, a form or a header holds: words for an answer, all or nothing sent, no injection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.request.wanted import NAMES
from tests.asking import Asker
from tests.integration.functions.desk import Desk, cgi, form_token
from tests.servers import Rabbit

#: Ends what it may stand in: a tag, an attribute, a script, a header, a line of a log.
BREAKERS = [
    "<zq>", '"zq="1', "' zq='1", "</textarea><zq>", "</title><zq>", "<!--", "\r\nZq: 1", "\n", "\0",
    "%0d%0aZq:1", "{{7*'zq'}}", "{}", "{0.__class__}", "\\", "../..", "\ud800", "\u202e", "é", "🙂",
    "x" * 5000, " ", ";", "#",
]  # fmt: skip
GOOD = {
    "release": ["noble"],
    "arch": ["amd64", "arm64"],
    "package": ["gzip", "sed", "g++"],
    "trigger": ["gzip/1", "sed/2 gzip/1", "migration-reference/0"],
    "ppa": ["a/one", "a/one:ABCDEF0123456789", "u:t@a/one"],
    "env": ["A=1", "A=1;B=2"],
    "all-proposed": ["1", ""],
    "readable-by": ["jane"],
    "build-git": ["https://198.51.100.7/x.git#main", "file:///etc/passwd", "http://127.0.0.1/"],
    "test-git": ["https://198.51.100.7/x.git"],
    "testname": ["smoke"],
    "force": ["1"],
}
SHORT, LONG = 60, 12_500
_LONGEST_QUERY = 60_000
_SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    "database": None,
}

texts = st.one_of(
    st.sampled_from(BREAKERS),
    st.text(max_size=40),
    st.builds("".join, st.lists(st.sampled_from([*BREAKERS, "gzip", "/", "1"]), max_size=6)),
)


def values_of(name: str) -> st.SearchStrategy[tuple[str, str]]:
    good = GOOD.get(name, ["1"])
    near = st.builds(lambda one, two: one + two, st.sampled_from(good), texts)
    return st.tuples(st.just(name), st.one_of(st.sampled_from(good), near, texts))


fields = st.one_of(
    st.sampled_from(NAMES).flatmap(values_of),
    st.tuples(texts, texts),
)
usual = st.sampled_from(
    [[("release", "noble"), ("arch", "amd64"), ("package", "gzip"), ("trigger", "gzip/1")], []]
)
forms = st.builds(lambda base, more: base + more, usual, st.lists(fields, max_size=5))
accepts = st.sampled_from(["text/html", "application/json", "text/plain", "*/*", "\x7f,;", ""])


class Tags(HTMLParser):
    """All tags of a page, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.found |= {name for name, _ in attrs}
        if tag == "script":
            assert dict(attrs).get("src"), "a script without an address of ours"


class Fuzzed:
    """The function, somebody's browser and somebody's script."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.script, self.browser = Asker(desk.app, url=desk.url), Asker(desk.app, url=desk.url)
        self.token = desk.token("github/boss")
        self.browser.cookies.set("testyard", desk.session("github/boss"))
        self.csrf = form_token(self.browser.get("/tokens").text)
        self.seen: Counter[int] = Counter()

    def look(self, answer: httpx.Response, before: int) -> None:
        """What holds for every answer."""
        self.seen[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        assert not [name for name in answer.headers if name.startswith("zq")]
        assert answer.headers["content-security-policy"]
        new = self.desk.remembered() - before
        if answer.status_code != 200 or "submitted" not in answer.text:
            assert new == 0, "refused, and yet something was accepted"
        if "html" in answer.headers.get("content-type", ""):
            tags = Tags(answer.text).found
            assert not [name for name in tags if "zq" in name or name.startswith("on")], tags


@pytest.fixture(scope="module")
def fuzzed(rabbit: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    desk = Desk(tmp_path_factory.mktemp("fuzz"), rabbit.url)
    desk.queued()
    made = Fuzzed(desk)
    yield made
    print(f"forms: {made.seen.total()} answers: {dict(made.seen)}; {desk.remembered()} accepted")
    assert len(desk.queued()) == desk.remembered(), "all that was accepted is in a queue, once"


def query_of(pairs: list[tuple[str, str]]) -> str:
    """As it stands in an address, which httpx takes up to 64 KiB, and servers less."""
    return encoded(pairs)[:_LONGEST_QUERY]


def encoded(pairs: list[tuple[str, str]]) -> str:
    """As a form; a lone surrogate as its three bytes."""
    quoted = [
        tuple("".join(f"%{byte:02X}" for byte in text.encode(errors="surrogatepass")) for text in pair)
        for pair in pairs
    ]
    return "&".join(f"{name}={value}" for name, value in quoted)


def ask_by_address(fuzzed: Fuzzed, pairs: list[tuple[str, str]], accept: str) -> None:
    before = fuzzed.desk.remembered()
    answer = fuzzed.script.get(
        f"/request.cgi?{query_of(pairs)}", headers={**fuzzed.token, "Accept": accept.encode()}
    )
    fuzzed.look(answer, before)


def ask_by_form(fuzzed: Fuzzed, pairs: list[tuple[str, str]], path: str) -> None:
    before = fuzzed.desk.remembered()
    body = encoded([("csrf", fuzzed.csrf), *pairs])
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    fuzzed.look(fuzzed.browser.post(path, content=body, headers=headers), before)
    fuzzed.look(fuzzed.browser.get(f"/request?{query_of(pairs)}"), fuzzed.desk.remembered())


def ask_raw(fuzzed: Fuzzed, query: bytes, body: bytes, header: bytes) -> None:
    before = fuzzed.desk.remembered()
    plain = bytes(byte for byte in query if 32 < byte < 127 and byte not in b"#")
    fuzzed.look(fuzzed.script.get(f"/request.cgi?{plain.decode()}", headers=fuzzed.token), before)
    fuzzed.look(fuzzed.script.get(f"/login?next={plain.decode()}"), before)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        **dict.fromkeys(("X-Forwarded-For", "X-Api-Key", "Accept", "Cookie"), header),
    }
    fuzzed.look(fuzzed.script.post("/request.cgi", content=body, headers=headers), before)
    fuzzed.look(fuzzed.browser.post("/tokens", content=body, headers=dict([*headers.items()][:1])), before)
    fuzzed.look(fuzzed.script.get(f"/login/github/callback?{plain.decode()}"), before)


raw = (
    st.binary(max_size=200),
    st.binary(max_size=400),
    st.binary(max_size=60).map(lambda text: text.translate(None, b"\r\n\0")),
)
paths = st.sampled_from(["/request", "/request.cgi", "/tokens", "/request/again"])


@settings(max_examples=SHORT, **_SETTINGS)  # type: ignore[arg-type]
@given(pairs=forms, accept=accepts)
def test_any_address(fuzzed: Fuzzed, pairs: list[tuple[str, str]], accept: str) -> None:
    ask_by_address(fuzzed, pairs, accept)


@settings(max_examples=SHORT, **_SETTINGS)  # type: ignore[arg-type]
@given(pairs=forms, path=paths)
def test_any_form(fuzzed: Fuzzed, pairs: list[tuple[str, str]], path: str) -> None:
    ask_by_form(fuzzed, pairs, path)


@settings(max_examples=SHORT, **_SETTINGS)  # type: ignore[arg-type]
@given(*raw)
def test_any_bytes(fuzzed: Fuzzed, query: bytes, body: bytes, header: bytes) -> None:
    ask_raw(fuzzed, query, body, header)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=2 * LONG, **_SETTINGS)  # type: ignore[arg-type]
@given(pairs=forms, accept=accepts)
def test_many_addresses(fuzzed: Fuzzed, pairs: list[tuple[str, str]], accept: str) -> None:
    ask_by_address(fuzzed, pairs, accept)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=LONG, **_SETTINGS)  # type: ignore[arg-type]
@given(pairs=forms, path=paths)
def test_many_forms(fuzzed: Fuzzed, pairs: list[tuple[str, str]], path: str) -> None:
    ask_by_form(fuzzed, pairs, path)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=LONG, **_SETTINGS)  # type: ignore[arg-type]
@given(*raw)
def test_many_bytes(fuzzed: Fuzzed, query: bytes, body: bytes, header: bytes) -> None:
    ask_raw(fuzzed, query, body, header)


def test_the_look_sees_what_it_forbids(fuzzed: Fuzzed) -> None:
    for page in ('<p zq="1">', "<zq>", '<a onclick="x">', "<script>x</script>"):
        answer = httpx.Response(
            400, html=page, headers={"content-security-policy": "x"}, request=httpx.Request("GET", "http://t")
        )
        with pytest.raises(AssertionError):
            fuzzed.look(answer, fuzzed.desk.remembered())
    sent = fuzzed.script.get(cgi(package="bc"), headers=fuzzed.token)
    assert "submitted" in sent.text
