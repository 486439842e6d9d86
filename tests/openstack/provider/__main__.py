# SPDX-License-Identifier: AGPL-3.0-or-later
"""``python -m tests.openstack.provider CATALOGUE``: the provider, started by terraform.

``TESTYARD_PROVIDER_LOG`` names a file for its log; without it the log goes to terraform's (TF_LOG).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from tests.openstack.provider.running import serve
from tests.openstack.provider.schema import load_catalogue
from tests.openstack.provider.servicer import WHAT_IT_IS, Provider


def main() -> None:
    """Serve the schema in the file that is named first."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(process)d %(name)s %(message)s",
        filename=os.environ.get("TESTYARD_PROVIDER_LOG"),
    )
    log = logging.getLogger("provider")
    log.setLevel(logging.INFO)
    catalogue = load_catalogue(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    log.info("%s; schema of %s", WHAT_IT_IS, catalogue.source)
    serve(Provider(catalogue))


if __name__ == "__main__":
    main()
