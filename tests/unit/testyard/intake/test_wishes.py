# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked for goes to the right queues, or the wrong field is named."""

from __future__ import annotations

from typing import Any

import pytest

from testyard.errors import RequestError
from testyard.intake.wishes import wishes_of
from testyard.settings import Settings, Topology

SETTINGS = Settings(
    topology=Topology(
        releases=("noble", "resolute"),
        architectures=("amd64", "arm64", "riscv64"),
        allowed={"noble": ("amd64", "arm64")},
    )
)
ONE = Settings(topology=Topology(releases=("noble",), architectures=("amd64",), contexts=("ubuntu",)))
GIT = "https://example.org/a.git#main"


def queues(settings: Settings = SETTINGS, package: str = "gzip", **asked: Any) -> list[str]:
    parameters = asked.pop("parameters", {})
    return [str(wish.queue) for wish in wishes_of(settings, package, parameters, **asked)]


def test_all_architectures_of_a_release() -> None:
    assert queues(release="noble") == ["debci-noble-amd64", "debci-noble-arm64"]
    assert len(queues(release="resolute")) == 3


def test_named_ones_each_once_in_their_order() -> None:
    named = ["arm64", "amd64", "arm64"]
    assert queues(release="noble", architectures=named) == ["debci-noble-arm64", "debci-noble-amd64"]


def test_the_only_release() -> None:
    assert queues(ONE) == ["debci-noble-amd64"]


@pytest.mark.parametrize(
    ("parameters", "context"),
    [
        ({}, ""),
        ({"ppas": ["jane/tools"]}, "ppa-"),
        ({"test-git": GIT}, "upstream-"),
        ({"build-git": GIT, "ppas": ["jane/tools"]}, "upstream-"),
    ],
)
def test_the_context_follows_from_what_is_tested(parameters: dict[str, Any], context: str) -> None:
    found = queues(release="noble", architectures=["amd64"], parameters=parameters)
    assert found == [f"debci-{context}noble-amd64"]


def test_a_context_may_be_named() -> None:
    assert queues(release="noble", architectures=["amd64"], context="huge") == ["debci-huge-noble-amd64"]


def test_the_parameters_go_along_and_an_id_does_not() -> None:
    parameters = {"triggers": ["gzip/1"], "uuid": "0", "unknown": 1}
    (wish,) = wishes_of(ONE, "gzip", parameters, force=True, subject="s")
    assert wish.parameters == {"triggers": ["gzip/1"], "unknown": 1}
    assert (wish.force, wish.subject, wish.request_id) == (True, "s", "")


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({}, "release", "needed; one of: noble, resolute"),
        ({"release": "sid"}, "release", "'sid' is not configured; there is: noble, resolute"),
        ({"release": ""}, "release", "'' is not configured"),
        ({"release": "noble", "architectures": []}, "arch", "at least one"),
        ({"release": "noble", "architectures": ["riscv64"]}, "arch", "noble is not tested on riscv64; on"),
        ({"release": "noble", "architectures": ["amd64", "x" * 900]}, "arch", "is not configured; there is"),
        ({"release": "noble", "context": "install"}, "context", "'install' is not configured"),
        ({"release": "noble", "package": "../x"}, "package", "no source package name"),
        ({"release": "noble", "parameters": {"triggers": "x"}}, "triggers", "is not source/version"),
        ({"settings": Settings(), "release": "noble"}, "release", "there is: none"),
    ],
)
def test_what_is_wrong_is_named(asked: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        queues(**asked)
    assert caught.value.field == field
    assert words in caught.value.problem
    assert len(caught.value.problem) < 300
