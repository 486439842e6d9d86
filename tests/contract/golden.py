# SPDX-License-Identifier: AGPL-3.0-or-later
"""The golden files beside this: what is on the wire and in the store, told without our code."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> Any:
    """A golden JSON file."""
    return json.loads((GOLDEN / name).read_text())


def tar_of(members: list[list[str]]) -> bytes:
    """An uncompressed tar with these members (name, text)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()
