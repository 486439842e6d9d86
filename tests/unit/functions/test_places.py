# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of logins."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.request.places import GithubPlace, OidcPlace, OpenidPlace, read_places
from testyard.errors import SettingsError
from testyard.settings import Settings

CLIENT = 'client_id = "id"\nclient_secret = "s3cret"\n'


def read(folder: Path, text: str, url: str = "https://t.example") -> tuple[object, ...]:
    path = folder / "logins.toml"
    path.write_text(text)
    return read_places(Settings(site={"url": url}, intake={"logins": path}))  # type: ignore[arg-type]


def test_all_kinds_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    found = read(
        tmp_path,
        f'[idp]\nkind = "oidc"\nname = "Us"\nissuer = "https://idp.example"\n{CLIENT}'
        f'[github]\nkind = "github"\nclient_id = "id"\nclient_secret_file = "{tmp_path}/secret"\n'
        '[launchpad]\nkind = "openid2"\nteams = ["a", "b"]\n',
    )
    oidc, github, openid = found
    assert isinstance(oidc, OidcPlace)
    assert isinstance(github, GithubPlace)
    assert isinstance(openid, OpenidPlace)
    assert (oidc.key, oidc.name, oidc.secret(), oidc.user_claim) == ("idp", "Us", "s3cret", "sub")
    assert (github.name, github.secret()) == ("GitHub", "from a file")
    assert (openid.name, openid.url) == ("Ubuntu", "https://login.ubuntu.com/")
    assert read_places(Settings()) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not a readable TOML file"),
        ("idp = 1", "idp: must be a table"),
        ('[idp]\nkind = "saml"', "idp"),
        (f'[operator]\nkind = "github"\n{CLIENT}', "operator is for others"),
        (f'[hook]\nkind = "github"\n{CLIENT}', "hook is for others"),
        (f'["a/b"]\nkind = "github"\n{CLIENT}', "key"),
        ('[github]\nkind = "github"\nclient_id = "x"', "needs client_secret or client_secret_file"),
        (f'[github]\nkind = "github"\nclient_secret_file = "/x"\n{CLIENT}', "and not both"),
        (
            '[g]\nkind = "github"\nclient_id = "x"\nclient_secret_file = "/nosuch"',
            "client_secret_file cannot be",
        ),
        (f'[idp]\nkind = "oidc"\nissuer = "http://idp.example"\n{CLIENT}', "must be an https address"),
        (f'[idp]\nkind = "oidc"\n{CLIENT}', "issuer"),
        (
            f'[idp]\nkind = "oidc"\nissuer = "https://i.example"\nuser_claim = "email"\n{CLIENT}',
            "theirs alone",
        ),
        ('[lp]\nkind = "openid2"\nurl = "http://evil.example/"', "must be an https address"),
        (f'[github]\nkind = "github"\nnosuch = 1\n{CLIENT}', "nosuch"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_shown(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_people_must_be_able_to_come_back(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"site\.url"):
        read(tmp_path, f'[github]\nkind = "github"\n{CLIENT}', url="")
