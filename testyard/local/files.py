# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files and folders that only their owner may read, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from testyard.errors import SettingsError, words_of


def make_private_folder(path: Path) -> None:
    """Make ``path`` and its parents; ``path`` itself gets mode 0700.

    Raises SettingsError when it cannot be made, is no folder, or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
        if owner == os.geteuid():
            path.chmod(0o700)
    except OSError as error:
        raise SettingsError(
            f"The folder {path} cannot be made.",
            details=words_of(error),
            resolution="Name another folder with --state.",
        ) from error
    if owner != os.geteuid():
        raise SettingsError(
            f"The folder {path} belongs to somebody else (user id {owner}).",
            resolution="Name another folder with --state.",
        )


def write_private(path: Path, text: str, mode: int = 0o600) -> bool:
    """Replace ``path`` by ``text`` atomically; True when the content changed.

    A reader sees the old text or the new one, after a power cut too.
    """
    data = text.encode()
    if path.is_file() and path.stat().st_mode & 0o777 == mode and path.read_bytes() == data:
        return False
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return True
