# SPDX-License-Identifier: AGPL-3.0-or-later
"""When two requests ask for the same."""

from __future__ import annotations

import hashlib
import json

from testyard.queue import QueueName
from testyard.request import TestRequest


def fingerprint(queue: QueueName, request: TestRequest) -> str:
    """SHA-256, in hex, of where a request waits and what it asks for; not of who asks, when, or its id."""
    asked = [
        queue.release,
        queue.architecture,
        request.package,
        sorted(request.triggers),
        [str(ppa.partition("@")[2] or ppa) for ppa in request.ppas],
        sorted(request.env),
        request.test_git,
        request.build_git,
        request.all_proposed,
        request.testname,
        request.swiftuser,
        sorted(request.readable_by),
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
