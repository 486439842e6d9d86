# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store's secrets, in a file of its own below the store's folder."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from testyard.errors import SettingsError
from testyard.local.files import make_private_folder, write_private

FILE_NAME = "secrets.json"
KEY_VARIABLE = "TESTYARD_LOCAL_STORE_KEY"


@dataclass(frozen=True)
class SwiftSecrets:
    """``hash_suffix`` decides where each object lies: another one loses them all."""

    user: str  # account:user
    key: str
    hash_suffix: str
    fernet_key: str  # seals tokens, which so outlive a restart
    back_end: str  # what back-ends ask of their callers


def load_secrets(root: Path) -> SwiftSecrets:
    """The secrets in ``root``, with the key of the environment if one is there.

    Raises SettingsError when there are none or they cannot be read.
    """
    path = root / FILE_NAME
    try:
        content = json.loads(path.read_bytes())
        found = SwiftSecrets(**{**content, "key": os.environ.get(KEY_VARIABLE) or content["key"]})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{path}: the store's secrets cannot be read.", details=str(error)) from error
    return found


def save_secrets(root: Path, *, user: str, key: str) -> SwiftSecrets:
    """Set user and key in ``root``; the other secrets are made once and kept."""
    make_private_folder(root)
    if (root / FILE_NAME).exists():
        old = load_secrets(root)
        suffix, fernet_key, back_end = old.hash_suffix, old.fernet_key, old.back_end
    else:
        suffix, back_end = secrets.token_hex(16), secrets.token_urlsafe(32)
        fernet_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    made = SwiftSecrets(user=user, key=key, hash_suffix=suffix, fernet_key=fernet_key, back_end=back_end)
    write_private(root / FILE_NAME, json.dumps(asdict(made), indent=1) + "\n")
    return made
