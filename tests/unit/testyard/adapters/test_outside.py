# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses that strangers name, with real servers on several addresses of this machine."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.certificates import Authority
from testyard.adapters.outside import Outside, leads_inside
from testyard.errors import OutsideError, RefusedAddressError


@dataclass
class Served:
    """A server; ``answers`` maps paths to status, headers and body; ``seen`` is what it was asked."""

    address: str
    port: int
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    drip: float = 0

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"


@contextmanager
def server(address: str, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            served.seen.append((self.command, self.path, dict(self.headers), body))
            status, headers, content = served.answers.get(self.path, (200, {}, b"here"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                for byte in content if served.drip else b"":
                    self.wfile.write(bytes([byte]))
                    time.sleep(served.drip)
                if not served.drip:
                    self.wfile.write(content)
            except OSError:
                pass  # the reader has gone

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as found:
        if tls is not None:
            found.socket = tls.wrap_socket(found.socket, server_side=True)
        served = Served(address, found.server_port)
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            found.shutdown()
            thread.join(5)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def forge(stack: ExitStack) -> Served:
    """What may be asked, on 127.0.0.1."""
    return stack.enter_context(server("127.0.0.1"))


@pytest.fixture
def secret(stack: ExitStack) -> Served:
    """What must not be asked, on 127.0.0.2."""
    return stack.enter_context(server("127.0.0.2"))


def telling(*answers: Sequence[str]) -> Callable[[str, int], Any]:
    """A name server that tells one thing after the other, and the last one from then on."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


#: 127.0.0.1 stands for the internet here.
OURS = Outside(inside=("127.0.0.1/32",), seconds=5)


def test_what_is_there(forge: Served) -> None:
    forge.answers["/a?b=c"] = (404, {"X-Why": "gone"}, b"no")
    answer = OURS.fetch(f"{forge.url}/a?b=c#part", headers={"Authorization": "token t"})
    assert (answer.status, answer.headers["x-why"], answer.body) == (404, "gone", b"no")
    method, path, headers, _ = forge.seen[0]
    assert (method, path, headers["Authorization"]) == ("GET", "/a?b=c", "token t")
    assert headers["Host"] == f"127.0.0.1:{forge.port}"


def test_a_body_is_sent_and_its_redirection_not_followed(forge: Served) -> None:
    forge.answers["/hook"] = (302, {"Location": "/other"}, b"")
    answer = OURS.fetch(f"{forge.url}/hook", method="POST", body=b"{}", headers={"host": "other"})
    assert answer.status == 302
    assert [(method, path, body) for method, path, _, body in forge.seen] == [("POST", "/hook", b"{}")]
    assert forge.seen[0][2]["Host"] == f"127.0.0.1:{forge.port}"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
        "http://localhost/", "https://LOCALHOST./", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://0/",
        "http://[fe80::1%25lo]/", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/",
        "http://10.0.0.1:8080/", "http://[::]/", "http://224.0.0.1/", "http://100.64.0.1/",
    ],
)  # fmt: skip
def test_nothing_inside_is_asked(url: str) -> None:
    with pytest.raises(OutsideError) as refused:
        Outside(seconds=5).fetch(url)
    # a form that this machine's resolver does not take is no address of anything either
    if "%25" not in url and not url.endswith("./"):
        assert isinstance(refused.value, RefusedAddressError), refused.value.brief


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://example.org/", "ftp://example.org/", "//example.org/", "", "http:///x",
        "http://user:password@example.org/", "http://user@example.org/", "http://example.org:0/",
        "http://example.org:99999/", "http://exa mple.org/", "http://example.org/\r\nX: y", "http://exämple.org/",
        "http://example.org\\@127.0.0.1/", "http://[::1/", "javascript:alert(1)", "http://example.org/\x00",
        "http://127.0.0%2e1/", "http://localhos%74/", "http://example.org%2f@x/", "http://[::1%25lo]/",
    ],
)  # fmt: skip
def test_what_is_no_address_of_ours(url: str) -> None:
    with pytest.raises(RefusedAddressError) as refused:
        Outside(resolve=telling(["93.184.215.14"])).check(url)
    assert "password" not in refused.value.brief


def test_a_name_that_changes_its_address_is_asked_where_it_was_checked(forge: Served, secret: Served) -> None:
    outside = Outside(inside=("127.0.0.1",), seconds=5, resolve=telling(["127.0.0.1"], ["127.0.0.2"]))
    assert outside.fetch(f"http://forge.example:{forge.port}/").body == b"here"
    assert forge.seen[0][2]["Host"] == f"forge.example:{forge.port}"
    with pytest.raises(RefusedAddressError, match=r"forge\.example leads to an internal address"):
        outside.fetch(f"http://forge.example:{secret.port}/")
    assert secret.seen == []


def test_one_address_inside_is_enough(secret: Served) -> None:
    both = Outside(seconds=5, resolve=telling(["93.184.215.14", "127.0.0.2"]))
    with pytest.raises(RefusedAddressError):
        both.fetch(f"http://forge.example:{secret.port}/")
    assert secret.seen == []


def test_redirections_are_checked_anew(forge: Served, secret: Served) -> None:
    forge.answers["/near"] = (302, {"Location": "/there"}, b"")
    forge.answers["/in"] = (302, {"Location": f"{secret.url}/secret"}, b"")
    forge.answers["/round"] = (307, {"Location": "/round"}, b"")
    forge.answers["/file"] = (301, {"Location": "file:///etc/passwd"}, b"")
    answer = OURS.fetch(f"{forge.url}/near")
    assert (answer.body, answer.url) == (b"here", f"{forge.url}/there")
    for path in ("/in", "/file"):
        with pytest.raises(RefusedAddressError):
            OURS.fetch(forge.url + path)
    with pytest.raises(OutsideError, match="more than 3 redirections"):
        OURS.fetch(f"{forge.url}/round")
    assert secret.seen == []


def test_credentials_stay_with_their_host(forge: Served) -> None:
    forge.answers["/away"] = (302, {"Location": f"http://other.example:{forge.port}/other"}, b"")
    forge.answers["/back"] = (302, {"Location": "/same"}, b"")
    outside = Outside(inside=("127.0.0.1",), seconds=5, resolve=telling(["127.0.0.1"]))
    for path in ("away", "back"):
        outside.fetch(f"http://forge.example:{forge.port}/{path}", headers={"authorization": "token t"})
    sent = {path: {name.lower() for name in headers} for _, path, headers, _ in forge.seen}
    assert "authorization" in sent["/away"] & sent["/back"] & sent["/same"]
    assert "authorization" not in sent["/other"]


def test_only_named_hosts(forge: Served) -> None:
    outside = Outside(
        inside=("127.0.0.1",), hosts=("api.forge.example", "*.api.example"), resolve=telling(["127.0.0.1"])
    )
    for host in ("api.forge.example", "API.forge.example.", "x.api.example"):
        assert outside.fetch(f"http://{host}:{forge.port}/").status == 200
    for host in ("forge.example", "api.forge.example.evil.org", "evilapi.example", "127.0.0.1"):
        with pytest.raises(RefusedAddressError, match="none of the hosts that may be asked"):
            outside.fetch(f"http://{host}:{forge.port}/")
    forge.answers["/away"] = (302, {"Location": f"http://evil.org:{forge.port}/"}, b"")
    with pytest.raises(RefusedAddressError):
        outside.fetch(f"http://api.forge.example:{forge.port}/away")


def test_internal_hosts_that_the_operator_names(secret: Served) -> None:
    url = f"http://git.lan:{secret.port}/"
    for inside in (("*.lan",), ("127.0.0.0/8",), ("127.0.0.2",)):
        assert Outside(inside=inside, resolve=telling(["127.0.0.2"])).fetch(url).status == 200
    for other in ((), ("git.example",), ("10.0.0.0/8", "::1/128")):
        with pytest.raises(RefusedAddressError):
            Outside(inside=other, resolve=telling(["127.0.0.2"])).fetch(url)


def test_the_next_address_is_asked_if_one_does_not_answer(forge: Served) -> None:
    outside = Outside(inside=("127.0.0.0/8",), seconds=5, resolve=telling(["127.0.0.9", "127.0.0.1"]))
    assert outside.fetch(f"http://forge.example:{forge.port}/").body == b"here"
    with pytest.raises(OutsideError, match=r"forge\.example"):
        outside.fetch("http://forge.example:1/")


def test_too_much_and_too_slow(forge: Served) -> None:
    forge.answers["/much"] = (200, {}, b"x" * 5000)
    packed = gzip.compress(b"\0" * 10_000_000)
    forge.answers["/packed"] = (200, {"Content-Encoding": "gzip"}, packed)
    small = Outside(inside=("127.0.0.1",), most_bytes=4000, seconds=5)
    with pytest.raises(OutsideError, match="more than 4000 bytes"):
        small.fetch(f"{forge.url}/much")
    with pytest.raises(OutsideError, match=r"more than|compressed"):
        Outside(inside=("127.0.0.1",), seconds=5).fetch(f"{forge.url}/packed")
    forge.drip = 0.05
    started = time.monotonic()
    with pytest.raises(OutsideError, match=r"took longer than 0\.5 s"):
        Outside(inside=("127.0.0.1",), seconds=0.5).fetch(f"{forge.url}/much")
    assert time.monotonic() - started < 2


def test_a_name_server_that_does_not_answer(stack: ExitStack) -> None:
    async def fails(host: str, port: int) -> Sequence[str]:
        raise OSError(-3, "Temporary failure in name resolution")

    with pytest.raises(OutsideError, match="Temporary failure") as failed:
        Outside(resolve=fails).fetch("http://forge.example/")
    assert not isinstance(failed.value, RefusedAddressError)


def test_the_certificate_must_be_the_names(stack: ExitStack, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("forge.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    served = stack.enter_context(server("127.0.0.1", tls))
    ours = ssl.create_default_context(cafile=str(authority.file))
    outside = Outside(inside=("127.0.0.1",), seconds=5, resolve=telling(["127.0.0.1"]), tls=ours)
    assert outside.fetch(f"https://forge.example:{served.port}/").body == b"here"
    with pytest.raises(OutsideError, match=r"(?i)certificate"):
        outside.fetch(f"https://other.example:{served.port}/")
    served.answers["/down"] = (302, {"Location": f"http://forge.example:{served.port}/"}, b"")
    with pytest.raises(RefusedAddressError, match="without https"):
        outside.fetch(f"https://forge.example:{served.port}/down")


IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
BITS = st.integers(0, 2**128 - 1).map(IPv6Address)


@given(IPV4)
@example(IPv4Address("169.254.169.254"))
@example(IPv4Address("8.8.8.8"))
def test_an_address_in_another_form_is_the_same(address: IPv4Address) -> None:
    if not address.is_global:
        assert leads_inside(address)
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert leads_inside(ip_address(form)) is leads_inside(address)
    assert leads_inside(ip_address(f"::{address}"))
    assert leads_inside(IPv6Address((0x2002 << 112) | int(address) << 80))


@given(BITS)
@example(IPv6Address("2600::1"))
@example(IPv6Address("fd00::1"))
def test_what_python_calls_inside_is(address: IPv6Address) -> None:
    if not address.is_global or address.is_private or address.is_multicast:
        assert leads_inside(address)


@pytest.mark.parametrize("text", ["8.8.8.8", "193.0.6.139", "2600::1", "2a00:1450::1", "64:ff9b::808:808"])
def test_the_internet_is_outside(text: str) -> None:
    assert not leads_inside(ip_address(text))


@given(st.text(max_size=60))
def test_no_text_is_asked_inside(text: str) -> None:
    outside = Outside(resolve=telling(["127.0.0.2"]))
    for url in (text, f"http://{text}", f"https://{text}/", f"http://forge.example{text}"):
        with pytest.raises(OutsideError):
            outside.check(url)
