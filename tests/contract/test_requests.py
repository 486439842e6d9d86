# SPDX-License-Identifier: AGPL-3.0-or-later
"""Request bodies in all their forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.golden import GOLDEN
from testyard.request import TestRequest, parse_body

FILES = sorted((GOLDEN / "requests").glob("*.body"))
KNOWN = {name for name in TestRequest.__dataclass_fields__ if name not in ("package", "parameters")}


def plain(request: TestRequest) -> dict[str, Any]:
    """The request as the golden files tell it: what is not the default, and the keys we do not know."""
    values = {name: getattr(request, name) for name in ("package", "private", *KNOWN)}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    values["unknown"] = {
        key: value for key, value in request.parameters.items() if key.replace("-", "_") not in KNOWN
    }
    return {name: value for name, value in values.items() if value not in (None, [], False, {})}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_body_is_read(file: Path) -> None:
    assert plain(parse_body(file.read_bytes())) == json.loads(file.with_suffix(".json").read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_body_is_written_so_that_every_consumer_reads_it(file: Path) -> None:
    request = parse_body(file.read_bytes())
    written = request.body()
    assert parse_body(written) == request
    package, rest = written.decode().split("\n", 1)  # the form that needs the line feed
    assert (package, json.loads(rest)) == (request.package, request.parameters)
    package, rest = written.decode().split(None, 1)  # older readers: any blank
    assert (package, json.loads(rest)) == (request.package, request.parameters)


def test_every_key_and_form_has_a_file() -> None:
    found = {key for file in FILES for key in json.loads(file.with_suffix(".json").read_text())}
    assert found == {"package", "private", "unknown", *KNOWN}
    assert len(FILES) == len(list((GOLDEN / "requests").glob("*.json")))
