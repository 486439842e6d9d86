# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who answers what, behind the one address that people and programs use; all else is the site's."""

from __future__ import annotations

from dataclasses import dataclass

#: Answered by what stands before the parts, without asking one.
HEALTH = "/health/front"


@dataclass(frozen=True)
class Route:
    """Which requests go to a part: a condition in HAProxy's words."""

    part: str
    condition: str


ROUTES = (
    Route("webhook", "{ path_beg /hooks/ }"),
    # a hook that was set up for autopkgtest-cloud; a person's confirmation has no such header
    Route("webhook", "{ path /request.cgi } { method POST } { req.hdr(X-GitHub-Event) -m found }"),
    Route("webhook", "{ path /request.cgi } { method POST } { req.hdr(X-Gitlab-Event) -m found }"),
    Route("request", "{ path /request /request.cgi /login /logout /tokens }"),
    Route("request", "{ path_beg /request/ /login/ /tokens/ /api/v1/retry/ }"),
    Route("request", "{ path_beg /api/v1/ } !{ method GET HEAD OPTIONS }"),
)
