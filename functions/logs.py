# SPDX-License-Identifier: AGPL-3.0-or-later
"""What functions write to stderr."""

from __future__ import annotations

import logging


def start_logging() -> None:
    """Log to stderr, without what libraries tell of each failure: it reaches us as an error, in words.

    python-swiftclient would log each request that finds nothing, with a part of its token.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for library in ("pika", "swiftclient"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
