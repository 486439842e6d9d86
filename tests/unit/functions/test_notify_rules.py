# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file that says who is told of what: who is meant, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.notify.rules import Kind, Rules, read_rules
from testyard.errors import SettingsError

RUN = {"package": "gzip", "release": "noble", "architecture": "amd64", "archive": "", "requester": "jane"}
GOOD = """
[destinations.jane]
apprise = "mailto://jane:hunter22@example.org"

[destinations.hook]
webhook = "https://hooks.example.org/x"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="

[[rules]]
to = ["jane", "hook"]
packages = ["gz*", "bash"]
releases = "noble"

[[rules]]
to = "jane"
requesters = ["jane"]
kinds = ["all"]
"""


def rules(text: str, folder: Path) -> Rules:
    path = folder / "rules.toml"
    path.write_text(text)
    return read_rules(path)


def names(found: Rules, kind: Kind, **changed: str) -> list[str]:
    return [each.name for each in found.told_of(kind, **{**RUN, **changed})]


def test_who_is_told(tmp_path: Path) -> None:
    found = rules(GOOD, tmp_path)
    assert names(found, Kind.REGRESSION) == ["jane", "hook"], "each once"
    assert names(found, Kind.FIX, requester="") == ["jane", "hook"]
    assert names(found, Kind.ALL) == ["jane"], "only what goes wrong or is mended, unless asked for"
    assert names(found, Kind.FIX, release="jammy", requester="") == []
    assert names(found, Kind.FIX, package="grep", requester="") == []
    assert names(found, Kind.FIX, archive="jane-tools", requester="") == [], "archives are asked for by name"
    assert found.destinations["hook"].secret == b"0123456789abcdef"
    assert "hunter22" not in repr(found)
    assert "hooks.example.org" not in repr(found)


def test_no_file_tells_nobody() -> None:
    assert read_rules(None).told_of(Kind.REGRESSION, **RUN) == ()


def test_secrets_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    monkeypatch.setenv("JANE", "ntfy://ntfy.example.org/jane")
    text = f"""
[destinations.a]
apprise_env = "JANE"
[destinations.b]
webhook = "https://x.example.org"
secret_file = "{tmp_path}/secret"
"""
    found = rules(text, tmp_path).destinations
    assert found["a"].service == "ntfy://ntfy.example.org/jane"
    assert found["b"].secret == b"0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "is no TOML"),
        ("x = 1", r"must hold \[destinations.NAME\] and \[\[rules\]\] only"),
        ("[destinations.a]", "needs apprise"),
        ('[destinations.a]\napprise = "mailto://a"\nwebhook = "https://x"', "not both"),
        ('[destinations.a]\napprise = "exec://rm"', "must be an address that begins with"),
        ('[destinations.a]\nwebhook = "ftp://x"', "webhook: must be"),
        ('[destinations.a]\nwebhook = "https://u:p@x"', "webhook: must be"),
        ('[destinations.a]\nwebhook = "https://x"', "secret .*16 characters"),
        ('[destinations.a]\nwebhook = "https://x"\nsecret = "whsec_?"', "base64"),
        ('[destinations.a]\napprise_env = "NO_SUCH_VARIABLE"', "there is no variable"),
        ('[destinations.a]\napprise_file = "/no/such"', "cannot be read"),
        ('[destinations.a]\napprise = "mailto://a"\napprise_env = "A"', "one is enough"),
        ("[destinations.a]\nweb = 1", "web: no such key; known: apprise"),
        ('[[rules]]\npackages = ["x"]', r"rules\[0\]: to: must name"),
        ('[[rules]]\nto = ["bob"]', r"there is no \[destinations.bob\]"),
        ("[[rules]]\nto = [1]", "to: must be text"),
        (GOOD + '[[rules]]\nto = "jane"\nkinds = ["bad"]', r"rules\[2\]: kinds: 'bad' is none of"),
        ("rules = [1]", "must be a table"),
    ],
)
def test_what_a_wrong_file_is_told(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=problem) as e:
        rules(text, tmp_path)
    assert e.value.brief.startswith("notify.rules: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_rules(tmp_path / "none")
