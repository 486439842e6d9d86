# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a run is kept."""

from __future__ import annotations

import pytest

from testyard.errors import RequestError, ResultError
from testyard.run import RunId
from testyard.store import (
    CLAIMS,
    RunPath,
    archive_of,
    container_name,
    is_private,
    is_results_container,
    pool_prefix,
    read_acl,
    reader_container,
)

ID = "20260105_120000_abcde@"


@pytest.mark.parametrize(
    ("ppas", "private", "name"),
    [
        ([], False, "autopkgtest-noble"),
        (["me/one"], False, "autopkgtest-noble-me-one"),
        (["me/one", "you/two"], False, "autopkgtest-noble-you-two"),
        (["me:token@me/one:0123abcd"], True, "private-autopkgtest-noble-me-one"),
        ([], True, "private-autopkgtest-noble"),
    ],
)
def test_containers(ppas: list[str], private: bool, name: str) -> None:
    assert container_name("noble", ppas, private=private) == name
    assert is_private(name) is private
    assert is_results_container(name)


def test_runs_of_repositories_are_apart_from_what_migration_software_reads() -> None:
    assert container_name("noble", from_git=True) == "autopkgtest-noble-upstream"
    assert container_name("noble", ["me/one"], from_git=True) == "autopkgtest-noble-me-one"
    assert container_name("noble", private=True, from_git=True) == "private-autopkgtest-noble-upstream"
    assert archive_of("autopkgtest-noble-upstream", "noble") == "upstream"


def test_a_readers_own_container() -> None:
    shared = container_name("noble", ["me/one"], private=True)
    own = reader_container(shared, "alice")
    assert own == "private-autopkgtest-noble-me-one.for-2bd806c97f0e"  # printf alice | sha256sum
    assert is_private(own)
    assert is_results_container(own)
    assert own != reader_container(shared, "bob")
    assert (read_acl("alice"), read_acl("")) == ("*:alice", "")


@pytest.mark.parametrize("release", ["", "..", "a/b", "a-b", "a..b", "No"])
def test_no_container_of_a_hostile_release(release: str) -> None:
    with pytest.raises(RequestError) as caught:
        container_name(release)
    assert caught.value.field == "release"


@pytest.mark.parametrize("ppa", ["../one", "me/..", "me/a..b", "me", "me/one/two"])
def test_no_container_of_a_hostile_archive(ppa: str) -> None:
    with pytest.raises(RequestError) as caught:
        container_name("noble", [ppa])
    assert caught.value.field == "ppas"


@pytest.mark.parametrize(
    "name",
    [
        "",
        CLAIMS,
        "autopkgtest-",
        "autopkgtest-a/b",
        "autopkgtest-..",
        "autopkgtest-a..b",
        "autopkgtest-a\n",
        "x-autopkgtest-a",
        "autopkgtest-\ud800",
    ],
)
def test_what_holds_no_results(name: str) -> None:
    assert not is_results_container(name)


@pytest.mark.parametrize(
    ("source", "prefix"),
    [("gzip", "g"), ("libpng", "libp"), ("lib", "lib"), ("libx", "libx"), ("0ad", "0"), ("li", "l")],
)
def test_prefixes(source: str, prefix: str) -> None:
    assert pool_prefix(source) == prefix
    path = RunPath("noble", "amd64", source, RunId(ID))
    assert str(path) == f"noble/amd64/{prefix}/{source}/{ID}"
    assert RunPath.parse(str(path)) == path
    assert RunPath.parse(f"{path}/") == path


def test_files_and_parent() -> None:
    path = RunPath("noble", "amd64", "gzip", RunId(ID))
    assert path.parent == "noble/amd64/g/gzip/"
    assert path.file("log.gz") == f"noble/amd64/g/gzip/{ID}/log.gz"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noble/amd64/g/gzip",
        f"noble/amd64/g/gzip/{ID}/log.gz",
        f"noble/amd64/x/gzip/{ID}",
        f"noble/amd64/l/libpng/{ID}",
        f"noble/amd64/g//{ID}",
        f"noble/amd64/./../{ID}",
        f"noble/amd64/./.x/{ID}",
        f"../amd64/g/gzip/{ID}",
        f"noble/../g/gzip/{ID}",
        f"a..b/amd64/g/gzip/{ID}",
        f"Noble/amd64/g/gzip/{ID}",
        "noble/amd64/g/gzip/..",
        f"/noble/amd64/g/gzip/{ID}",
    ],
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ResultError):
        RunPath.parse(text)


@pytest.mark.parametrize(
    ("container", "archive"),
    [
        ("autopkgtest-noble", ""),
        ("autopkgtest-noble-team-ppa", "team-ppa"),
        ("private-autopkgtest-noble-team-ppa", "team-ppa"),
        ("autopkgtest-jammy-team-ppa", ""),
        ("", ""),
    ],
)
def test_the_archive_of_a_container(container: str, archive: str) -> None:
    assert archive_of(container, "noble") == archive
