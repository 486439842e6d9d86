# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests that name archives and pockets, in the default testbed, against real archives."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.archives import LOGIN, RELEASE, TOKEN, ArchiveSite, archive_site
from tests.integration.yard import CONTAINER, Yard, body_of
from tests.trees import account, machine_tree
from testyard.adapters.deadletters import dead_letters
from testyard.reproduce import in_testbed, recipe
from testyard.result import Result
from worker.process import CLEAN_ENVIRONMENT

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]

PRIVATE = "private-autopkgtest-sample-team-hidden"
READER = {"swiftuser": "reader"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveSite]:
    with archive_site(tmp_path_factory.mktemp("archives")) as found:
        yield found


@pytest.fixture
def unshared(yard: Yard, site: ArchiveSite) -> Yard:
    """A yard whose testbeds are disposable and know the site as their mirror."""
    archives = {name: str(value) for name, value in site.settings.model_dump(exclude_none=True).items()}
    site.tree(machine_tree(), yard.use_unshare(archives=archives, slots=3))
    del yard.settings["worker"]["source_dir"]
    return yard


def _installed(text: str) -> dict[str, str]:
    """Versions that the test saw; ``source`` is that of the tested sources."""
    found = dict(re.findall(r"^installed:([a-z-]+)=(\S+)$", text, re.MULTILINE))
    return {**found, "source": (re.findall(r"^source=(\S+)$", text, re.MULTILINE) or [""])[0]}


def _run_again(yard: Yard, result: Result) -> tuple[str, ...]:
    """The versions that the command in a result gives to a reader with a tree of the release."""
    words = recipe(result.reproduce, RELEASE, yard.architecture)
    assert str(yard.folder) not in result.reproduce
    (tree,) = Path(str(yard.settings["worker"]["tree_dir"])).glob("*.tar")
    with TemporaryDirectory(prefix="ty-again-") as folder:
        reader = Path(folder) / "tree.tar"
        shutil.copyfile(tree, reader)
        os.chmod(folder, 0o755)
        account().give(Path(folder))
        command = account().argv(*in_testbed(words, ["unshare", f"--tarball={reader}"]))
        environment = {**CLEAN_ENVIRONMENT, "HOME": folder, "TMPDIR": folder}
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == result.exit_code, done.stdout + done.stderr
    versions = _installed(done.stdout + done.stderr)
    return tuple(versions[name] for name in ("ty-apt", "ty-lib", "ty-other"))


class Watch(threading.Thread):
    """Reads every process's arguments, all the time, and keeps those that hold a word."""

    def __init__(self, word: str) -> None:
        super().__init__(daemon=True)
        self._word = word
        self._ended = threading.Event()
        self.found: set[str] = set()
        self.looks = 0

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.looks += 1
            for line in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = line.read_text(errors="replace")
                except OSError:
                    continue
                if self._word in text:
                    self.found.add(text)

    def end(self) -> None:
        self._ended.set()
        self.join()


def test_pockets_and_archives(unshared: Yard, site: ArchiveSite) -> None:
    requests: dict[str, dict[str, Any]] = {
        "plain": {},
        "trigger": {"triggers": ["ty-lib/2"]},
        "two triggers": {"triggers": ["ty-lib/2", "ty-apt/2"]},
        "reference": {"triggers": ["migration-reference/0"]},
        "all": {"all-proposed": "1"},
        "ppa": {"ppas": ["team/one"], "triggers": ["ty-other/2"]},
        "ppas": {"ppas": [f"team/one:{site.keys['key']}", "team/two"]},
        "ppa and all": {"ppas": ["team/one"], "all-proposed": "1"},
    }
    expected = {
        "plain": ("1", "1", "1"),
        "trigger": ("1", "2", "1"),
        "two triggers": ("2", "2", "1"),
        "reference": ("1", "1", "1"),
        "all": ("2", "2", "2"),
        "ppa": ("1", "3", "1"),
        "ppas": ("4", "3", "1"),
        "ppa and all": ("2", "3", "2"),
    }
    worker = unshared.worker()
    named = {name: str(uuid.uuid4()) for name in requests}
    for name, parameters in requests.items():
        unshared.publish(body_of("ty-apt", **parameters, uuid=named[name]))
    unshared.wait(lambda: len(unshared.completions()) == len(requests), "all are done", 200)
    unshared.drain(worker)
    containers = (CONTAINER, f"{CONTAINER}-team-one", f"{CONTAINER}-team-two")
    results = {
        result.request_id: (result, unshared.log_of(result, container))
        for container in containers
        for result in unshared.results(container)
    }
    seen = {}
    for name, request_id in named.items():
        result, log = results[request_id]
        assert result.exit_code == 0, f"{name}\n{log}"
        versions = _installed(log)
        assert versions["source"] == result.version == versions["ty-apt"], f"{name}\n{log}"
        seen[name] = (versions["ty-apt"], versions["ty-lib"], versions["ty-other"])
    assert seen == expected
    result, _ = results[named["ppa and all"]]
    assert _run_again(unshared, result) == expected["ppa and all"]
    assert len(unshared.results(f"{CONTAINER}-team-two")) == 1


def test_credentials_work_and_are_nowhere_to_be_seen(unshared: Yard, site: ArchiveSite) -> None:
    watch = Watch(TOKEN)
    watch.start()
    worker = unshared.worker()
    ppa = f"{LOGIN}:{TOKEN}@team/hidden:{site.keys['key']}"
    unshared.publish(body_of("ty-apt", ppas=[ppa], uuid=str(uuid.uuid4()), **READER))
    secrets = unshared.folder / "work" / "runs"
    unshared.wait(lambda: list(secrets.glob("**/box/archives/auth.conf")), "they are a file", 60)
    (file,) = secrets.glob("**/box/archives/auth.conf")
    assert file.stat().st_mode & 0o777 == 0o600
    unshared.wait(lambda: len(unshared.events("stored")) == 1, "it is stored", 100)
    unshared.drain(worker)
    watch.end()
    (result,) = unshared.results(PRIVATE)
    log = unshared.log_of(result, PRIVATE)
    assert (result.exit_code, _installed(log)["ty-lib"]) == (0, "6"), log
    assert "200 /private/team/hidden/dists/sample/InRelease" in site.log
    assert (watch.found, watch.looks > 50) == (set(), True)
    stored = [unshared.store.get(PRIVATE, name) or b"" for name in unshared.objects(PRIVATE)]
    assert len(stored) == 3
    told = unshared.heard("testyard.events") + unshared.heard("teststatus.fanout")
    assert told
    assert unshared.heard("testcomplete.fanout") == []
    assert "/private/team/hidden" in result.reproduce  # without them
    unpacked = [*_unpacked(stored), *told, unshared.log.encode(), log.encode()]
    assert [text for text in unpacked if TOKEN.encode() in text] == []
    assert not list(secrets.glob("*/*"))


def _unpacked(objects: list[bytes]) -> Iterator[bytes]:
    """What packed objects hold, one level deep."""
    for data in objects:
        plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        yield plain
        try:
            with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                names = tar.getnames()
        except tarfile.TarError:
            continue
        yield "\n".join(names).encode()


def test_archives_that_cannot_be_used(unshared: Yard, site: ArchiveSite) -> None:
    """What the testbed finds out is a result, what the worker finds out before is a dead letter."""
    key = site.keys["key"]
    tried = {
        "is not signed with its key": {"ppas": ["team/strange"]},
        "it has nothing for this release": {"ppas": [f"team/nothing:{key}"]},
        "the credentials are missing or wrong": {"ppas": [f"reader:wrong@team/hidden:{key}"], **READER},
    }
    refused = {
        "there is no archive team/absent": {"ppas": ["team/absent"]},
        f"there is no key {'A' * 40}": {"ppas": [f"team/one:{'a' * 40}"]},
        "must be whole": {"ppas": ["team/one:01234567"]},
        "no key of team/hidden is known": {"ppas": ["reader:x@team/hidden"], **READER},
    }
    worker = unshared.worker()
    ids = {reason: str(uuid.uuid4()) for reason in (*tried, *refused)}
    for reason, parameters in {**tried, **refused}.items():
        unshared.publish(body_of("ty-apt", **parameters, uuid=ids[reason]))
    unshared.wait(lambda: len(unshared.events("stored")) == len(tried), "they end", 200)
    unshared.wait(lambda: len(unshared.events("rejected")) == len(refused), "all are told")
    unshared.drain(worker)
    containers = [f"{CONTAINER}-team-strange", f"{CONTAINER}-team-nothing", PRIVATE]
    results: dict[str | None, Result] = {
        result.request_id: result for container in containers for result in unshared.results(container)
    }
    for reason in tried:
        result = results[ids[reason]]
        assert (result.exit_code, reason in result.worker["cause"]) == (12, True), result
    letters = {
        letter.request_id: letter.reason for letter in dead_letters(unshared.settings["broker"]["url"])
    }
    events = {event["request_id"]: event["data"]["reason"] for event in unshared.events("rejected")}
    for reason, parameters in refused.items():
        assert letters[ids[reason]].startswith("ppas: ")
        assert reason in letters[ids[reason]]
        if "swiftuser" not in parameters:
            assert events[ids[reason]] == letters[ids[reason]]
    assert unshared.waiting() == 0
