# SPDX-License-Identifier: AGPL-3.0-or-later
"""node, which cdktf starts in every process that imports it."""

from __future__ import annotations

import os
import shutil
from collections.abc import MutableMapping

from testyard.errors import SettingsError

# jsii 1.142 prints eleven lines at each start on a node that is past its end of life. node 20 is
# known to work and the newest that the cdktf command line supports on every machine of ours, so
# the warning about 20, and no other, is switched off. The value is the version; "1" does nothing.
_ACCEPTED_OLD_NODE = "20"


def prepare_node(environ: MutableMapping[str, str] = os.environ) -> None:
    """Make the environment ready for ``import cdktf``; to be called before it.

    Raises SettingsError if node is not to be found (jsii itself would end in an AttributeError).
    """
    node = environ.get("JSII_NODE", "node")
    if shutil.which(node, path=environ.get("PATH")) is None:
        raise SettingsError(
            f"{node}: no such program",
            details="cdktf is written for node and starts it.",
            resolution="Install node 20 or 22 and put it on PATH, or name it in JSII_NODE.",
        )
    environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", _ACCEPTED_OLD_NODE)
