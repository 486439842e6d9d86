# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests that come from a repository, which is fetched in the testbed: so it reaches no more than a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.archives import ArchiveSite, archive_site
from tests.integration.yard import CONTAINER, PACKAGES, Yard, body_of
from tests.trees import machine_tree

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveSite]:
    """A server with a repository ``ty-git``: its branches print what they are called."""
    with archive_site(tmp_path_factory.mktemp("git")) as found:
        repository(found.folder / "www" / "ty-git.git")
        yield found


def repository(folder: Path) -> None:
    """A bare repository that is served as files."""
    work = folder.with_suffix(".work")
    shutil.copytree(PACKAGES / "ty-pass", work)
    (work / "debian" / "rules").write_text("#!/bin/sh\ncase $1 in binary*) exit 1 ;; esac\n")

    def git(*words: str, at: Path = work) -> None:
        identity = ["-c", "user.name=Testyard", "-c", "user.email=testyard@example.org"]
        subprocess.run(
            ["git", *identity, *words],
            cwd=at,
            check=True,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "HOME": str(folder.parent)},
        )

    git("init", "--quiet", "--initial-branch=main")
    for branch in ("main", "other", "pull"):
        if branch != "main":
            git("checkout", "--quiet", "-b", branch)
        control = f"Test-Command: echo 'from branch={branch}'\nFeatures: test-name=branch\nDepends:\n"
        (work / "debian" / "tests" / "control").write_text(control)
        git("add", "--all")
        git("commit", "--quiet", "--message", branch)
    git("update-ref", "refs/pull/7/head", "pull")
    git("checkout", "--quiet", "main")
    git("branch", "--quiet", "-D", "pull")
    git("clone", "--quiet", "--mirror", str(work), str(folder), at=folder.parent)
    git("update-server-info", at=folder)


APART = f"{CONTAINER}-upstream"


def _versions(yard: Yard, requests: dict[str, dict[str, str]], seconds: float = 200) -> dict[str, str]:
    """Which branch each request's test came from, by its trigger; what autopkgtest said if none did."""
    shutil.copyfile(machine_tree(), yard.use_unshare(slots=2, proposed_pocket=""))
    worker = yard.worker()
    for name, parameters in requests.items():
        yard.publish(body_of("ty-git", triggers=[f"{name}/1"], **parameters))
    yard.wait(lambda: len(yard.completions()) == len(requests), "all have ended", seconds)
    yard.drain(worker)
    found = {}
    assert yard.results() == [], "none is among those of the release itself"
    for result in yard.results(APART):
        log = yard.log_of(result, APART)
        branches = [line.partition("=")[2] for line in log.splitlines() if line.startswith("from branch=")]
        found[result.triggers[0].partition("/")[0]] = (
            branches[0] if branches else f"{result.exit_code}: {log}"
        )
    return found


def test_a_branch(yard: Yard, site: ArchiveSite) -> None:
    assert _versions(yard, {"branch": {"test-git": f"{site.url}/ty-git.git other"}}) == {"branch": "other"}
    assert "/ty-git.git/info/refs" in site.log


@pytest.mark.long
def test_every_form_and_no_address_of_the_workers(yard: Yard, site: ArchiveSite, tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: object) -> None:
            asked.append(format % words)

    shutil.copytree(site.folder / "www" / "ty-git.git", tmp_path / "own" / "ty-git.git")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "own"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_address[1]}/ty-git.git"
        subprocess.run(["git", "ls-remote", own], check=True, capture_output=True)
        assert asked, "out here it can be reached"
        asked.clear()
        found = _versions(
            yard,
            {
                "plain": {"test-git": f"{site.url}/ty-git.git"},
                "hash": {"test-git": f"{site.url}/ty-git.git#other"},
                "ref": {"test-git": f"{site.url}/ty-git.git#refs/pull/7/head"},
                "build": {"build-git": f"{site.url}/ty-git.git"},
                "own": {"test-git": own},
            },
            300,
        )
        server.shutdown()
    assert {name: found[name] for name in ("plain", "hash", "ref")} == {
        "plain": "main",
        "hash": "other",
        "ref": "pull",
    }
    # it is built first, and its rules refuse that
    assert found["build"].startswith("12: "), found["build"]
    assert "build needed for binaries" in found["build"]
    assert found["own"].startswith("12: "), found["own"]
    assert asked == []
