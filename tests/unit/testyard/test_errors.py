# SPDX-License-Identifier: AGPL-3.0-or-later
"""The error tree."""

from __future__ import annotations

import inspect

import pytest

from testyard import errors
from testyard.errors import RequestError, TestyardError

CLASSES = [
    found for _, found in inspect.getmembers(errors, inspect.isclass) if found.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES)
def test_one_root_and_the_drawing_is_complete(kind: type) -> None:
    assert issubclass(kind, TestyardError)
    assert kind.__name__ in (errors.__doc__ or "")


def test_the_text_has_what_a_person_needs() -> None:
    error = TestyardError("brief", details="details", resolution="do this")
    assert str(error) == "brief\ndetails\ndo this"
    assert str(TestyardError("brief")) == "brief"


def test_a_request_error_names_the_field() -> None:
    error = RequestError("triggers", "wrong")
    assert (error.field, error.problem, error.brief) == ("triggers", "wrong", "triggers: wrong")
