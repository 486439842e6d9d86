# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queue names, both ways."""

from __future__ import annotations

import pytest

from testyard.errors import RequestError
from testyard.queue import CONTEXTS, QueueName, all_queues

NAMES = [
    ("debci-noble-amd64", QueueName("ubuntu", "noble", "amd64")),
    ("debci-huge-noble-amd64v3", QueueName("huge", "noble", "amd64v3")),
    ("debci-ppa-noble-arm64", QueueName("ppa", "noble", "arm64")),
    ("debci-upstream-noble-s390x", QueueName("upstream", "noble", "s390x")),
    ("debci-urgent-noble-amd64", QueueName("urgent", "noble", "amd64")),
    ("debci-install-noble-i386", QueueName("install", "noble", "i386")),
    ("debci-group-noble-riscv64", QueueName("group", "noble", "riscv64")),
    ("debci-huge-amd64", QueueName("ubuntu", "huge", "amd64")),
    ("debci-24.04_lts-amd64", QueueName("ubuntu", "24.04_lts", "amd64")),
]


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_both_ways(text: str, name: QueueName) -> None:
    assert str(name) == text
    assert QueueName.parse(text) == name


def test_every_context_is_tried() -> None:
    assert {name.context for _, name in NAMES} == set(CONTEXTS)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "queue"),
        ("debci", "queue"),
        ("debci-noble", "queue"),
        ("other-noble-amd64", "queue"),
        ("debci-ubuntu-noble-amd64", "queue"),
        ("debci-ppa-noble-amd64-x", "queue"),
        ("debci-nosuch-noble-amd64", "context"),
        ("debci-Noble-amd64", "release"),
        ("debci--amd64", "release"),
        ("debci-..-amd64", "release"),
        ("debci-a..b-amd64", "release"),
        ("debci-a/b-amd64", "release"),
        ("debci-noble-", "architecture"),
        ("debci-noble-amd64\n", "architecture"),
        ("debci-noble-a..b", "architecture"),
    ],
)
def test_bad_names(text: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        QueueName.parse(text)
    assert caught.value.field == field


def test_all_combinations() -> None:
    found = all_queues(("ubuntu", "ppa"), ("a", "b"), ("amd64", "arm64"))
    assert len(set(found)) == 8
    assert "debci-ppa-b-arm64" in map(str, found)
    assert all_queues(("ubuntu",), (), ("amd64",)) == ()
