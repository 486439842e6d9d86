# SPDX-License-Identifier: AGPL-3.0-or-later
"""What failures mean: our rules, and an operator's before them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from testyard.errors import SettingsError
from testyard.queue import QueueName
from worker.rules import Judgement, Rules

QUEUE = QueueName("ubuntu", "noble", "armhf")


def judged(exit_code: int, log: str = "", *, rules: Rules | None = None, last: bool = False) -> Judgement:
    return (rules or Rules.load(None)).judge(exit_code, log, "gzip", QUEUE, last=last)


def operators(folder: Path, text: str) -> Rules:
    path = folder / "rules.toml"
    path.write_text(text)
    return Rules.load(path)


@pytest.mark.parametrize(
    ("exit_code", "log", "rule"),
    [
        (16, "", "testbed"),
        (
            12,
            "E: Failed to fetch http://a.example/x.deb  Temporary failure resolving 'a'",
            "archive-out-of-reach",
        ),
        (
            14,
            "x\nE: Failed to fetch http://a/x.deb  Could not connect to a:80 (10.0.0.1)\ny",
            "archive-out-of-reach",
        ),
        (
            20,
            "W: Failed to fetch http://a/InRelease  503  Service Unavailable [IP: 10.0.0.1 80]",
            "archive-out-of-reach",
        ),
        (
            12,
            "fatal: unable to access 'https://git.example/p/': Could not resolve host: git.example",
            "repository-out-of-reach",
        ),
        (12, "E: Failed to fetch http://a/Packages.xz  Hash Sum mismatch", "archive-changed-meanwhile"),
        (
            12,
            "E: Failed to fetch http://a/Packages.xz  File has unexpected size (1 != 2). Mirror sync",
            "archive-changed-meanwhile",
        ),
    ],
)
def test_what_is_the_machines_fault_is_tried_again_and_in_the_end_no_failure(
    exit_code: int, log: str, rule: str
) -> None:
    assert judged(exit_code, log).again == rule
    assert judged(exit_code, log, last=True) == Judgement(16, {"rule": rule})


@pytest.mark.parametrize(
    ("exit_code", "log"),
    [
        (0, "E: x Temporary failure resolving"),
        (2, ""),
        (8, ""),
        (4, "E: Failed to fetch http://a/x.deb  Temporary failure resolving 'a'"),
        (12, "E: Unable to locate package nosuch"),
        (12, "a test says: Temporary failure resolving"),
        (20, "usage: autopkgtest"),
    ],
)
def test_what_tells_of_the_package_stands(exit_code: int, log: str) -> None:
    assert judged(exit_code, log) == Judgement(exit_code)


def test_a_kernel_panic_is_the_packages_failure() -> None:
    assert judged(16, "[1.2] Kernel panic - not syncing: Fatal") == Judgement(4, {"rule": "kernel-panic"})


def test_an_operators_rules_come_first(tmp_path: Path) -> None:
    rules = operators(
        tmp_path,
        """
        [[temporary]]
        name = "flaky-port"
        exit_codes = [4]
        log = 'port \\d+ is taken'
        packages = ["gz*"]
        except_packages = ["gzip-x"]
        architectures = ["arm*"]

        [[known]]
        name = "bug-1"
        log = "segfault"
        link = "https://bugs.example.org/1"
        """,
    )
    assert judged(4, "port 80 is taken", rules=rules) == Judgement(16, {"rule": "flaky-port"}, "flaky-port")
    assert judged(4, "segfault", rules=rules) == Judgement(
        4, {"known_issue": "bug-1 https://bugs.example.org/1"}
    )
    assert judged(4, "", rules=rules) == Judgement(4)
    assert judged(16, "segfault", rules=rules, last=True) == Judgement(
        16, {"known_issue": "bug-1 https://bugs.example.org/1", "rule": "testbed"}
    )
    amd64 = QueueName("ubuntu", "noble", "amd64")
    assert rules.judge(4, "port 80 is taken", "gzip", amd64, last=False) == Judgement(4)
    assert rules.judge(4, "port 80 is taken", "gzip-x", QUEUE, last=False) == Judgement(4)
    assert rules.judge(4, "port 80 is taken", "zip", QUEUE, last=False) == Judgement(4)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[temporary]]\nname = 'Bad name'", "temporary.0.name"),
        ("[[temporary]]\nname = 'x'\nlog = '('", "temporary.0.log: .*no regular expression"),
        ("[[temporary]]\nname = 'x'\nexit_codes = [0]", "temporary.0.exit_codes.0"),
        ("[[known]]\nname = 'x'\nlink = 'javascript:x'", "known.0.link"),
        ("[[sometimes]]\nname = 'x'", "sometimes"),
        ("[[temporary]]\nname = 'x'\npackage = ['a']", "temporary.0.package"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        operators(tmp_path, text)
    assert "rules.toml" in caught.value.brief
    assert re.search(problem, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("code", [0, 2, 8])
def test_what_is_no_failure_is_judged_by_no_rule(tmp_path: Path, code: int) -> None:
    with pytest.raises(SettingsError, match="is wrong"):
        operators(tmp_path, f"[[failure]]\nname = 'x'\nexit_codes = [{code}]")


def test_an_expression_that_takes_for_ever_is_given_up(tmp_path: Path) -> None:
    rules = operators(
        tmp_path,
        r"""
        [[temporary]]
        name = "slow"
        log = '(\w+\s?)+: failed$'
        """,
    )
    start = time.monotonic()
    assert judged(4, "a" * 40 + "!", rules=rules) == Judgement(4)
    assert time.monotonic() - start < 30


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"worker\.rules: .*cannot be read"):
        Rules.load(tmp_path / "gone.toml")
