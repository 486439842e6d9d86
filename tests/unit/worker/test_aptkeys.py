# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys of archives: from a folder, from a server, and what is no key of them."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from testyard.archives import Archives
from testyard.errors import CancelledRun, RequestError, TestbedError
from testyard.ppa import Ppa
from worker.aptkeys import key_of
from worker.archives import write_archives


def _gpg(home: str, *arguments: str) -> bytes:
    command = ["gpg", "--homedir", home, "--batch", "--quiet", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, bytes]]:
    """Two keys by fingerprint."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="ty-gpg-") as home:
        for name in ("one", "two"):
            new = ("--passphrase", "", "--pinentry-mode", "loopback", "--quick-generate-key")
            _gpg(home, *new, f"{name}@example.org", "ed25519", "sign", "never")
            listing = _gpg(home, "--with-colons", "-k", f"{name}@example.org").decode()
            print_ = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
            found[print_] = _gpg(home, "--armor", "--export", print_)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
        yield found


def _ppa(fingerprint: str = "", credentials: str = "") -> Ppa:
    return Ppa.parse(f"{credentials}team/tools{':' if fingerprint else ''}{fingerprint}")


def _fingerprints(key: bytes, tmp_path: Path) -> set[str]:
    (tmp_path / "key").write_bytes(key)
    listing = _gpg(str(tmp_path), "--with-colons", "--show-keys", str(tmp_path / "key")).decode()
    return {line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")}


class Server:
    """Answers by address, and remembers what it was asked."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes | None:
        self.asked.append(url)
        return self.answers.get(url.rpartition("/")[2])


SETTINGS = Archives(
    key_url="https://keys.example.org/{fingerprint}", about_url="https://a.example.org/{name}"
)


def test_a_server_is_asked_by_the_requests_fingerprint(keys: dict[str, bytes], tmp_path: Path) -> None:
    first, second = keys
    server = Server(**{first: keys[first] + keys[second]})
    key = key_of(_ppa(first.lower()), SETTINGS, server)
    assert server.asked == [f"https://keys.example.org/{first}"]
    assert _fingerprints(key, tmp_path) == {first}  # nothing else of what the server sent


def test_a_public_archives_fingerprint_is_asked_for(keys: dict[str, bytes], tmp_path: Path) -> None:
    first = next(iter(keys))
    about = f'{{"signing_key_fingerprint": "{first.lower()}"}}'.encode()
    server = Server(**{first: keys[first], "tools": about})
    assert _fingerprints(key_of(_ppa(), SETTINGS, server), tmp_path) == {first}
    assert server.asked == ["https://a.example.org/tools", f"https://keys.example.org/{first}"]


def test_another_key_than_was_asked_for_is_refused(keys: dict[str, bytes]) -> None:
    first, second = keys
    with pytest.raises(RequestError, match="is not"):
        key_of(_ppa(first), SETTINGS, Server(**{first: keys[second]}))
    with pytest.raises(RequestError, match="is not"):
        key_of(_ppa(first), SETTINGS, Server(**{first: b"<html>no key</html>"}))


@pytest.mark.parametrize(
    ("ppa", "why"),
    [
        (_ppa(), "no archive team/tools"),
        (_ppa("A" * 40), f"there is no key {'A' * 40}"),
        (_ppa("01234567"), "must be whole"),
        (_ppa(credentials="a:b@"), "name its fingerprint"),
    ],
)
def test_no_key(ppa: Ppa, why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        key_of(ppa, SETTINGS, Server())
    assert caught.value.field == "ppas"


def test_a_service_that_answers_nonsense_is_asked_again_later() -> None:
    with pytest.raises(TestbedError):
        key_of(_ppa(), SETTINGS, Server(tools=b"<html>"))
    with pytest.raises(RequestError, match="no key of team/tools"):
        key_of(_ppa(), SETTINGS, Server(tools=b"{}"))


def test_the_folder_is_asked_first(keys: dict[str, bytes], tmp_path: Path) -> None:
    first, second = keys
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "team-tools.asc").write_bytes(keys[first])
    (folder / f"{second}.asc").write_bytes(keys[second])
    settings = SETTINGS.model_copy(update={"keys": folder})
    server = Server()
    for ppa, wanted in ((_ppa(), first), (_ppa(first[-16:]), first), (_ppa(second), second)):
        assert _fingerprints(key_of(ppa, settings, server), tmp_path) == {wanted}
    with pytest.raises(RequestError, match="another key"):
        key_of(_ppa("0" * 40), settings, server)
    assert server.asked == []


def test_a_silent_server_is_no_fault_of_the_request(tmp_path: Path) -> None:
    settings = Archives(key_url="http://127.0.0.1:9/{fingerprint}")  # nobody listens
    with pytest.raises(TestbedError, match=r"^archive team/tools cannot be used: .*127\.0\.0\.1:9") as caught:
        write_archives(tmp_path / "made", [_ppa("A" * 40)], "noble", settings, lambda: False)
    assert not isinstance(caught.value, RequestError)
    assert not (tmp_path / "made").exists()


def test_keys_are_not_fetched_for_a_run_that_is_cancelled(tmp_path: Path) -> None:
    answers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    folder = tmp_path / "keys"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        settings = Archives(key_url=f"http://127.0.0.1:{server.server_port}/{{fingerprint}}", keys=folder)
        try:
            with pytest.raises(CancelledRun):
                write_archives(tmp_path / "made", [_ppa("A" * 40)], "noble", settings, lambda: True)
            assert answers == []
            with pytest.raises(TestbedError, match="status 500"):
                write_archives(tmp_path / "made", [_ppa("A" * 40)], "noble", settings, lambda: False)
            assert len(answers) == 1
        finally:
            server.shutdown()


def test_files_for_apt(keys: dict[str, bytes], tmp_path: Path) -> None:
    first = next(iter(keys))
    (tmp_path / f"{first}.asc").write_bytes(keys[first])
    settings = Archives(keys=tmp_path, private_url="http://p.example.org:81/{owner}/{name}")
    ppas = [_ppa(first), _ppa(first, credentials="me:s3cret@")]
    made = tmp_path / "made"
    write_archives(made, ppas, "noble", settings, lambda: False)
    assert (made / "testyard-0.sources").read_text().splitlines() == [
        "# team/tools",
        "Types: deb deb-src",
        "URIs: https://ppa.launchpadcontent.net/team/tools/ubuntu",
        "Suites: noble",
        "Components: main",
        "Signed-By: /etc/apt/keyrings/testyard-0.gpg",
    ]
    assert "URIs: http://p.example.org:81/team/tools\n" in (made / "testyard-1.sources").read_text()
    secret = made / "auth.conf"
    assert secret.read_text() == "machine http://p.example.org:81/team/tools login me password s3cret\n"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in made.iterdir() if b"s3cret" in path.read_bytes()] == ["auth.conf"]
