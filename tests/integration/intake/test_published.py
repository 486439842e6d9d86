# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is published, looked up in real archives: dpkg-source, apt-ftparchive and gpg made them."""

from __future__ import annotations

import gc
import lzma
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.archives import LOGIN, RELEASE, TOKEN, ArchiveSite, archive_files
from tests.integration.intake.sources import Archive, Served, serving
from testyard.admission import SourceArchive
from testyard.errors import RequestError
from testyard.intake.ppas import LATE, Notes
from testyard.intake.published import Published
from testyard.request import TestRequest, make_request
from testyard.settings import Intake, Settings, Worker

PRIVATE = f"{LOGIN}:{TOKEN}@team/hidden"


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Served]]:
    with serving() as start:
        yield start


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


def test_one_call_does_not_ask_for_ever(
    archive: Archive, serve: Callable[[Path], Served], tmp_path: Path, clock: Clock
) -> None:
    archive.publish("gzip/1")
    served = serve(tmp_path / "www")
    published = Published(settings(served), clock)
    late = Notes(until=0)
    published.check(request("nothing"), "noble", late)
    assert (served.asked, LATE in late.lines[0]) == ([], True)
    assert refused(published, request("nothing"), "noble").startswith("package: nothing is not published")
    asked = len(served.asked)
    with pytest.raises(RequestError):  # what is known by then is as good as before
        published.check(request("nothing"), "noble", Notes(until=0))
    clock.now += 3600
    late = Notes(until=0)
    published.check(request("nothing"), "noble", late)
    published.check(request("gzip"), "noble", late)
    published.check(request("gzip", ppas=["team/one"]), "noble", late)
    assert (len(served.asked), len(late.lines)) == (asked, 2)


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
from testyard.intake.ppas import LATE, Notes
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
