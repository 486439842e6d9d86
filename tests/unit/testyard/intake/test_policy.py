# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of rights: what it says, what is wrong with it, and when it is read."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testyard.errors import ForbiddenError, OutsideError, SettingsError
from testyard.intake import ANONYMOUS, Identity, Scope
from testyard.intake.policy import WORDS, Policy, Question, Right
from testyard.intake.policyfile import PolicyFile, parse_policy

JANE = Identity("launchpad/jane", "jane", groups=("launchpad/core",))
JOE = Identity("github/joe", "joe", token="0123", scopes=frozenset({Scope.REQUEST}))
GZIP = Question(Right.REQUEST, "gzip", "ubuntu", "noble", ("glibc",))


class Asked:
    """Somebody who knows uploaders and members, or does not answer."""

    def __init__(self, *known: str, away: bool = False) -> None:
        self._known, self._away = known, away

    def uploads(self, who: Identity, question: Question) -> bool:
        return self._answer(f"{who.owner} {question.package}")

    def member(self, who: Identity, group: str) -> bool:
        return self._answer(f"{who.owner} @{group}")

    def _answer(self, what: str) -> bool:
        if self._away:
            raise OutsideError("launchpad: does not answer")
        return what in self._known


def may(policy: Policy, who: Identity, question: Question = GZIP, asked: Asked | None = None) -> bool:
    try:
        policy.check(who, question, asked or Asked())
    except ForbiddenError:
        return False
    return True


RULES = """
[[rule]]
who = "github/mallory"
may_not = "all"

[[rule]]
who = ["@launchpad/core", "uploader"]
may = ["request", "force"]

[[rule]]
who = "token"
may = ["request"]
packages = ["linux*", "gzip"]
contexts = ["ppa"]
releases = ["noble", "j*"]

[[rule]]
who = "logged-in"
may = "request"
packages = "ty-*"

[[rule]]
who = "*"
may = "request"
packages = "open"
"""


def ask(
    package: str, right: Right = Right.REQUEST, context: str = "ubuntu", release: str = "noble"
) -> Question:
    return Question(right, package, context, release)


@pytest.mark.parametrize(
    ("who", "question", "expected"),
    [
        (JANE, ask("bash"), True),
        (JANE, ask("bash", Right.FORCE), True),
        (JANE, ask("bash", Right.PRIVATE), False),
        (JOE, ask("gzip"), False),
        (JOE, ask("gzip", context="ppa"), True),
        (JOE, ask("linux-meta", context="ppa", release="jammy"), True),
        (JOE, ask("linux-meta", context="ppa", release="focal"), False),
        (JOE, ask("ty-pass"), True),
        (ANONYMOUS, ask("ty-pass"), False),
        (ANONYMOUS, ask("open"), True),
        (Identity("github/mallory", "mallory"), ask("open"), False),
        (Identity("operator/root", "root"), ask("bash", Right.QUEUE), True),
        (Identity("hook/github/o/p", "p"), ask("p-upstream", context="upstream"), True),
        (Identity("hook/github/o/p", "p"), ask("gzip", Right.QUEUE), False),
    ],
)
def test_the_first_rule_that_fits_decides(who: Identity, question: Question, expected: bool) -> None:
    assert may(parse_policy(RULES), who, question) is expected


def test_what_is_known_elsewhere() -> None:
    policy, other = parse_policy(RULES), Identity("launchpad/eve", "eve")
    assert not may(policy, other)
    assert may(policy, other, asked=Asked("launchpad/eve gzip"))
    assert may(policy, other, asked=Asked("launchpad/eve @launchpad/core"))
    # who is in by what the login said is not asked for
    assert may(policy, JANE, asked=Asked(away=True))


def test_what_cannot_be_found_out_is_told_unless_another_rule_allows_it() -> None:
    policy = parse_policy(RULES)
    with pytest.raises(OutsideError):
        policy.check(JOE, GZIP, Asked(away=True))
    policy.check(JOE, ask("ty-pass"), Asked(away=True))
    forbidding = parse_policy('[[rule]]\nwho="@launchpad/bad"\nmay_not="all"\n[[rule]]\nwho="*"\nmay="all"\n')
    with pytest.raises(OutsideError):
        forbidding.check(JOE, GZIP, Asked(away=True))
    assert may(forbidding, JOE)
    assert not may(forbidding, JOE, asked=Asked("github/joe @launchpad/bad"))


def test_a_refusal_says_what_would_be_needed() -> None:
    with pytest.raises(
        ForbiddenError, match="github/joe may not request tests of gzip in ubuntu of noble"
    ) as no:
        parse_policy(RULES).check(JOE, GZIP, Asked())
    assert no.value.resolution == (
        "This is for members of launchpad/core or whoever may upload the package or one of its triggers."
    )
    with pytest.raises(ForbiddenError) as named:
        parse_policy('[[rule]]\nwho="github/secret-*"\nmay="request"\n').check(JOE, GZIP, Asked())
    assert named.value.resolution == "This is for those whom the operators name."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[rule]\n", r"line 1"),
        ("who = 1\n", r"policy, line 1: who: is no key here"),
        ('\n[[rule]]\nwho = "*"\nmay = "reqest"\n', r"line 4: rule 1: may: 'reqest' is none of all, request"),
        ('[[rule]]\nwho = "*"\n', r"line 1: rule 1: may: a rule has either may or may_not"),
        ('[[rule]]\nwho = "*"\nmay = "all"\nmay_not = "all"\n', r"line 3: rule 1: may: a rule has either"),
        ('[[rule]]\nmay = "all"\n', r"rule 1: who: is missing"),
        (
            '[[rule]]\nwho = "*"\nmay = "all"\n[[rule]]\nwho = "jane"\nmay = "all"\n',
            r"line 5: rule 2: who: 'jane'",
        ),
        ('[[rule]]\nwho = "*"\nmay = []\n', r"line 3: rule 1: may: must be a text"),
        ('[[rule]]\nwho = "*"\nmay = "all"\npackages = [1]\n', r"line 4: rule 1: packages: must be a text"),
        (
            '[[rule]]\nwho = "*"\nmay = "all"\npackages = "GZIP"\n',
            r"line 4: rule 1: packages: 'GZIP' fits no name",
        ),
        (
            '[[rule]]\nwho = "*"\nmay = "all"\npackage = "gzip"\n',
            r"line 4: rule 1: package: is no key of a rule",
        ),
        ("[rule]\nwho = '*'\n", r"rule: write each rule below a line \[\[rule\]\]"),
        ("[git]\nhost = 'a'\n", r"line 2: host: is no key of \[git\]"),
        ("[git]\ninternal = 1\n", r"line 2: internal: must be true or false"),
        ("git = 1\n", r"line 1: git: write a line"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_policy(text)


def test_the_file_is_read_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "policy.toml"
    with pytest.raises(SettingsError, match=r"policy\.toml: No such file"):
        PolicyFile(path)
    path.write_text('[[rule]]\nwho = "github/joe"\nmay = "all"\n')
    file = PolicyFile(path)
    assert may(file.policy(), JOE)
    path.write_text("")
    os.utime(path, ns=(1, 1))  # however coarse the file system's clock is
    assert not may(file.policy(), JOE)
    path.write_text('[[rule]]\nwho = "github/joe"\nmay = "all"\n')
    assert may(file.policy(), JOE)
    with caplog.at_level(logging.ERROR):
        path.write_text("[[rule\n")
        assert may(file.policy(), JOE)
        path.unlink()
        assert may(file.policy(), JOE)
        file.policy()
    assert ["still holds" in message for message in caplog.messages] == [True, True]


tomls = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=10), st.sampled_from(["*", "all", "a/b"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def written(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value).lower()


keys = st.sampled_from(["who", "may", "may_not", "packages", "contexts", "releases", "x"])


@given(st.lists(st.dictionaries(keys, tomls), max_size=3), st.text(max_size=20))
def test_any_file_is_a_policy_or_a_told_mistake(rules: list[dict[str, object]], rest: str) -> None:
    text = "".join(
        "[[rule]]\n" + "".join(f"{key} = {written(value)}\n" for key, value in rule.items()) for rule in rules
    )
    for whole in (text, text + rest):
        try:
            policy = parse_policy(whole)
        except SettingsError as error:
            told = error.brief
        else:
            told = f"intake.policy: policy: {may(policy, JOE)}"
        assert told.startswith("intake.policy: policy")


DOCS = Path(__file__).parents[4] / "docs" / "policy.md"


def examples() -> list[str]:
    return [
        block
        for block in re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(), re.S | re.M)
        if "rule" in block
    ]


def test_the_examples_of_the_documentation() -> None:
    small, ubuntu = map(parse_policy, examples())
    member = Identity("github/mia", "mia", groups=("github/example",))
    assert may(small, member, ask("bash", Right.FORCE))
    assert not may(small, member, ask("bash", Right.CANCEL))
    assert may(small, JANE, ask("ty-demo", context="ppa"))
    assert not may(small, JANE, ask("bash"))
    assert may(small, Identity("github/joe", "joe"), Question(Right.QUEUE))
    assert small.git.hosts == ("github.com",)
    britney = Identity("robot/britney", "britney", token="0123", scopes=frozenset({Scope.REQUEST}))
    assert may(ubuntu, britney, ask("bash", context="huge"))
    assert may(ubuntu, britney, Question(Right.UNLIMITED))
    assert may(ubuntu, JANE, ask("bash"), Asked("launchpad/jane bash"))
    assert not may(ubuntu, JANE, ask("bash", Right.FORCE), Asked("launchpad/jane bash"))
    assert not may(ubuntu, JANE, ask("bash", context="huge"), Asked("launchpad/jane bash"))
    assert may(ubuntu, JANE, ask("bash", Right.CANCEL), Asked("launchpad/jane @launchpad/ubuntu-release"))
    assert may(ubuntu, Identity("launchpad/snappy-m-o", ""), ask("snapcraft"))
    assert not may(ubuntu, Identity("launchpad/snappy-m-o", ""), ask("bash"))


def test_all_rights_and_words_are_documented() -> None:
    code = set(re.findall(r"^\| `([^`]+)` \|", DOCS.read_text(), re.M))
    assert {*map(str, Right), *WORDS} <= code
