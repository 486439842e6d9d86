# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is published, looked up in real archives: dpkg-source, apt-ftparchive and gpg made them."""

from __future__ import annotations

import base64
import gc
import gzip
import hashlib
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.archives import LOGIN, RELEASE, TOKEN, ArchiveSite, archive_files
from testyard.admission import SourceArchive
from testyard.errors import RequestError
from testyard.intake.ppas import Notes
from testyard.intake.published import Published
from testyard.request import TestRequest, make_request
from testyard.settings import Intake, Settings, Worker

PRIVATE = f"{LOGIN}:{TOKEN}@team/hidden"


@dataclass
class Served:
    """A server of a folder on loopback; ``asked`` has status and path of all that was asked."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    failing: str = ""
    tags: bool = False

    def count(self, part: str) -> int:
        return sum(part in line for line in self.asked)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Served]]:
    servers = []
    expected = f"Basic {base64.b64encode(f'{LOGIN}:{TOKEN}'.encode()).decode()}"

    def start(folder: Path) -> Served:
        served = Served(folder)

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if served.failing and served.failing in self.path:
                    self.send_error(500)
                elif self.path.startswith("/private/") and self.headers["Authorization"] != expected:
                    self.send_error(401)
                elif served.tags and self.path.endswith("InRelease"):
                    self._tagged(Path(self.translate_path(self.path)))
                else:
                    super().do_GET()

            def _tagged(self, path: Path) -> None:
                content = path.read_bytes() if path.is_file() else None
                tag = f'"{hashlib.sha256(content or b"").hexdigest()}"'
                same = self.headers["If-None-Match"] == tag
                self.send_response(404 if content is None else 304 if same else 200)
                self.send_header("ETag", tag)
                self.end_headers()
                self.wfile.write(b"" if same else content or b"")

            def log_request(self, code: Any = "-", size: Any = "-") -> None:
                served.asked.append(f"{int(code)} {self.path}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        served.url = f"http://127.0.0.1:{server.server_port}"
        return served

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveSite]:
    with archive_files(tmp_path_factory.mktemp("archives")) as site:
        yield site


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def request(package: str = "ty-apt", **keys: Any) -> TestRequest:
    return make_request(package, {name.replace("_", "-"): value for name, value in keys.items()})


def looked_up(published: Published, wanted: TestRequest, release: str = RELEASE) -> tuple[str, ...]:
    """The notes."""
    notes = Notes()
    published.check(wanted, release, notes)
    return notes.lines


def refused(published: Published, wanted: TestRequest, release: str = RELEASE) -> str:
    with pytest.raises(RequestError) as error:
        looked_up(published, wanted, release)
    return error.value.brief


def test_packages_triggers_and_archives(
    real: ArchiveSite, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    served = serve(real.folder / "www")
    real.address = served.url.removeprefix("http://")
    keyring = tmp_path / "keyring.gpg"
    armoured = real.folder / "www" / "keys" / real.keys["key"]
    subprocess.run(["gpg", "--batch", "--dearmor", "-o", str(keyring), str(armoured)], check=True)
    archive = SourceArchive(url=f"{served.url}/mirror", keyring=keyring)
    settings = Settings(intake=Intake(archives=(archive,)), worker=Worker(archives=real.settings))
    published = Published(settings)
    for right in (
        request(triggers=["ty-lib/2", "ty-other/1"]),
        request(triggers=["migration-reference/0"]),
        request(triggers=["ty-lib/3"], ppas=["team/one"]),
        request(triggers=["ty-apt/4"], ppas=["team/one", f"team/two:{real.keys['key']}"]),
        request(triggers=["ty-lib/6"], ppas=[f"{PRIVATE}:{real.keys['key']}"], swiftuser="team"),
        request("anything", build_git="https://example.org/x", triggers=["ty-lib/2"]),
    ):
        assert looked_up(published, right) == ()
        assert published.missing(right, RELEASE, Notes()) == ""
    gone = request(triggers=["ty-other/1", "ty-lib/3", "ty-lib/4"])
    assert published.missing(gone, RELEASE, Notes()) == "ty-lib/3"
    assert published.missing(request("ty-none"), RELEASE, Notes()) == ""  # its triggers are there
    hidden = f"{PRIVATE}:{real.keys['key']}"
    wrong = hidden.replace(TOKEN, "wrong")
    for brief, asked in {
        "package: ty-none is not published in sample": request("ty-none"),
        "triggers: ty-lib/3 is not published in sample": request(triggers=["ty-apt/1", "ty-lib/3"]),
        "triggers: ty-lib/4 is not published in sample nor in team/one": request(
            triggers=["ty-lib/4"], ppas=["team/one"]
        ),
        "ppas: there is no archive team/none": request(ppas=["team/none"]),
        f"ppas: team/one is signed with another key than named: {real.keys['key']}": request(
            ppas=[f"team/one:{real.keys['stranger']}"]
        ),
        "triggers: ty-lib/7 is not published in sample nor in team/hidden": request(
            triggers=["ty-lib/7"], ppas=[hidden], swiftuser="team"
        ),
        "ppas: team/hidden does not accept the credentials": request(ppas=[wrong], swiftuser="team"),
        "ppas: team/hidden is private, so its key must be named: team/hidden:FINGERPRINT": request(
            ppas=[PRIVATE], swiftuser="team"
        ),
    }.items():
        assert refused(published, asked) == brief
    assert refused(published, request(ppas=["team/one"]), "other") == "ppas: team/one has nothing for other"
    # nothing of the private one is kept, nor is it told
    kept = b"".join(path.read_bytes() for path in published.folder.iterdir())
    assert b"team/one" in kept
    assert b"hidden" not in kept
    assert TOKEN.encode() not in kept
    folder = published.folder
    del published
    gc.collect()
    assert not folder.exists()


class Archive:
    """An archive of text files, published anew at will."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._time = 1_700_000_000

    def publish(
        self,
        *sources: str,
        suite: str = "noble",
        form: str = ".xz",
        component: str = "main",
        by_hash: bool = False,
    ) -> None:
        place = self._folder / "dists" / suite / component / "source"
        place.mkdir(parents=True, exist_ok=True)
        text = "".join(
            f"Package: {source.partition('/')[0]}\nBinary: x\nVersion: {source.partition('/')[2]}\n"
            f"Maintainer: Nobody\nFiles:\n 0123 1 x_1.dsc\n\n"
            for source in sources
        ).encode()
        pack: Callable[[bytes], bytes] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[form]
        half = len(text) // 2  # as several processors pack it
        data = pack(text[:half]) + pack(text[half:])
        for old in place.iterdir():
            if old.is_file():
                old.unlink()
        sha256 = hashlib.sha256(data).hexdigest()
        path = place / ("by-hash/SHA256" if by_hash else "") / (sha256 if by_hash else f"Sources{form}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        release = self._folder / "dists" / suite / "InRelease"
        yes = "Acquire-By-Hash: yes\n" if by_hash else ""
        self._write(
            release,
            f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: x\nSuite: {suite}\n{yes}"
            f"MD5Sum:\n 0123 1 {component}/source/Sources{form}\nSHA256:\n"
            f" {sha256} {len(data):>9} {component}/source/Sources{form}\n"
            "-----BEGIN PGP SIGNATURE-----\n\nxxxx\n-----END PGP SIGNATURE-----\n",
        )

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        self._time += 10  # the server tells whole seconds
        os.utime(path, (self._time, self._time))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "www")


def settings(served: Served, **intake: Any) -> Settings:
    given = {"archives": (SourceArchive(url=served.url),), **intake}
    return Settings(intake=Intake(**given))


@pytest.mark.parametrize("by_hash", [False, True])
@pytest.mark.parametrize("form", ["", ".gz", ".xz"])
def test_all_forms_of_an_index(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, form: str, by_hash: bool
) -> None:
    archive.publish("gzip/1:1.0-1", "gzip/1.1~a+b-1", "bash/2", form=form, by_hash=by_hash)
    published = Published(settings(serve(tmp_path / "www")))
    assert looked_up(published, request("gzip", triggers=["gzip/1:1.0-1", "gzip/1.1~a+b-1"]), "noble") == ()
    assert refused(published, request("gzip", triggers=["bash/1"]), "noble").startswith(
        "triggers: bash/1 is not"
    )


@pytest.mark.parametrize("tags", [False, True], ids=["Last-Modified", "ETag"])
def test_it_is_asked_for_only_what_is_new(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, clock: Clock, tags: bool
) -> None:
    archive.publish("gzip/1")
    archive.publish("gzip/2", suite="noble-proposed")
    served = serve(tmp_path / "www")
    served.tags = tags
    published = Published(settings(served), clock)
    for _ in range(3):
        looked_up(published, request("gzip", triggers=["gzip/2"]), "noble")
    assert (served.count("200 "), served.count("Sources")) == (4, 2)
    served.asked.clear()
    clock.now += 301
    looked_up(published, request("gzip"), "noble")
    assert (
        served.count("304 /dists/noble/InRelease") == served.count("304 /dists/noble-proposed/InRelease") == 1
    )
    assert served.count("Sources") == 0
    # published anew, with the same sources in one of the two
    archive.publish("gzip/3", suite="noble-proposed")
    archive.publish("gzip/1")
    clock.now += 301
    looked_up(published, request("gzip", triggers=["gzip/3"]), "noble")
    assert served.count("Sources") == 1
    assert "gzip/2 is not" in refused(published, request("gzip", triggers=["gzip/2"]), "noble")


def test_what_is_newer_than_the_index_is_looked_for_once_a_minute(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, clock: Clock
) -> None:
    archive.publish("gzip/1")
    served = serve(tmp_path / "www")
    published = Published(settings(served), clock)
    looked_up(published, request("gzip"), "noble")
    archive.publish("gzip/2")
    wanted = request("gzip", triggers=["gzip/2"])
    before = len(served.asked)
    for _ in range(5):
        assert refused(published, wanted, "noble") == "triggers: gzip/2 is not published in noble"
    assert len(served.asked) == before
    clock.now += 60
    assert looked_up(published, wanted, "noble") == ()
    clock.now += 60
    for _ in range(5):
        refused(published, request("gzip", triggers=["gzip/3"]), "noble")
    assert served.count("/dists/noble/InRelease") == 3


def test_an_archive_that_does_not_answer_holds_nothing_up(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, clock: Clock
) -> None:
    archive.publish("gzip/1")
    served = serve(tmp_path / "www")
    served.failing = "/dists/"
    published = Published(settings(served), clock)
    notes = looked_up(published, request("gzip", triggers=["gzip/2"]), "noble")
    assert len(notes) == 4
    assert notes[0].startswith("not looked up whether it is published: http://127.0.0.1:")
    assert "status 500" in notes[0]
    asked = len(served.asked)
    looked_up(published, request("bash"), "noble")
    assert len(served.asked) == asked  # not tried again for a minute
    served.failing = ""
    clock.now += 60
    assert refused(published, request("bash"), "noble") == "package: bash is not published in noble"
    # away again: what is known is known, the rest is accepted
    served.failing = "/dists/"
    clock.now += 301
    assert looked_up(published, request("gzip"), "noble") == ()
    assert len(looked_up(published, request("bash"), "noble")) == 4


def test_a_file_that_is_not_what_the_index_says_is_not_taken(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, clock: Clock
) -> None:
    archive.publish("gzip/1")
    served = serve(tmp_path / "www")
    published = Published(settings(served), clock)
    looked_up(published, request("gzip"), "noble")
    archive.publish("gzip/2")
    (tmp_path / "www/dists/noble/main/source/Sources.xz").write_bytes(
        lzma.compress(b"Package: evil\nVersion: 1\n")
    )
    clock.now += 301
    assert looked_up(published, request("gzip", triggers=["gzip/1"]), "noble") == ()
    assert "is not what the release's index says" in looked_up(published, request("evil"), "noble")[0]
    archive.publish("gzip/2")
    clock.now += 61
    assert looked_up(published, request("gzip", triggers=["gzip/2"]), "noble") == ()
    assert "evil is not" in refused(published, request("evil"), "noble")


def test_a_stranger_signature_is_not_taken(
    real: ArchiveSite, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    served = serve(real.folder / "www")
    keyring = tmp_path / "stranger.gpg"
    armoured = real.folder / "www" / "keys" / real.keys["stranger"]
    subprocess.run(["gpg", "--batch", "--dearmor", "-o", str(keyring), str(armoured)], check=True)
    archive = SourceArchive(url=f"{served.url}/mirror", keyring=keyring, suites=("{release}",))
    published = Published(Settings(intake=Intake(archives=(archive,))))
    assert "is not signed by a key of" in looked_up(published, request("ty-apt"))[0]


def test_a_release_that_is_new(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, clock: Clock
) -> None:
    archive.publish("gzip/1")
    served = serve(tmp_path / "www")
    published = Published(settings(served), clock)
    assert "there is no such release" in looked_up(published, request("gzip"), "oracular")[0]
    archive.publish("gzip/1", suite="oracular")
    clock.now += 60
    assert looked_up(published, request("gzip"), "oracular") == ()
    assert "bash is not published in oracular" in refused(published, request("bash"), "oracular")


def test_releases_of_several_archives(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    archive.publish("gzip/1")
    archive.publish("ports/1", suite="sid", component="contrib")
    served = serve(tmp_path / "www")
    archives = (
        SourceArchive(url=served.url, releases=("noble",)),
        SourceArchive(
            url=served.url, releases=("sid",), components=("main", "contrib"), suites=("{release}",)
        ),
    )
    published = Published(Settings(intake=Intake(archives=archives)))
    assert looked_up(published, request("gzip"), "noble") == ()
    assert looked_up(published, request("ports"), "sid") == ()
    assert "gzip is not published in sid" in refused(published, request("gzip"), "sid")
    assert looked_up(published, request("anything"), "jammy") == ()


_WORKER = """
import sys
from testyard.admission import SourceArchive
from testyard.errors import RequestError
from testyard.intake.ppas import Notes
from testyard.intake.published import Published
from testyard.request import make_request
from testyard.settings import Intake, Settings
archive = SourceArchive(url=sys.argv[1], suites=("{release}",))
published = Published(Settings(intake=Intake(archives=(archive,), archives_cache=sys.argv[2])))
notes = Notes()
published.check(make_request("pkg-777", {"triggers": ["pkg-888/1.888-1"]}), "noble", notes)
try:
    published.check(make_request("none", {}), "noble", notes)
except RequestError as error:
    print(error.brief, notes.lines)
"""


def test_processes_fetch_once(archive: Archive, serve: Callable[[Path], Served], tmp_path: Path) -> None:
    archive.publish(*(f"pkg-{number}/1.{number}-1" for number in range(5000)))
    served = serve(tmp_path / "www")
    argv = [sys.executable, "-c", _WORKER, served.url, str(tmp_path / "cache")]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert said == {"package: none is not published in noble ()\n"}
    assert (served.count("InRelease"), served.count("Sources")) == (1, 1)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
