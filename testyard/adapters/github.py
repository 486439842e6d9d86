# SPDX-License-Identifier: AGPL-3.0-or-later
"""GitHub: commit statuses with a token, check runs as a GitHub App.

Forms and limits: GitHub's REST API, version 2022-11-28, "Commit statuses" and "Check runs".
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from testyard.adapters.forge import SHOW_SECONDS, Calls, file_of
from testyard.errors import ForgeError
from testyard.intake.report import Report, plain
from testyard.intake.statuses import Shown

_VERSION = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}

#: Characters of a summary, and annotations of one call.
_LONGEST_SUMMARY = 65535
_MOST_ANNOTATIONS = 50
#: Seconds that an app's own token is good for (GitHub: 600 at most), and how far its clock may be ahead.
_JWT_SECONDS = 540
_JWT_SKEW = 60
#: A token of an installation (an hour) is asked for again so many seconds before its end.
_TOKEN_MARGIN = 300

#: What the button of a check run is called in the hook that it sends.
RERUN = "rerun"
_RERUN_ACTION = {"label": "Run again", "description": "Run this test again", "identifier": RERUN}

_STATE = {Shown.QUEUED: "pending", Shown.RUNNING: "pending", Shown.PASS: "success", Shown.NEUTRAL: "success"}
_CONCLUSION = {
    Shown.PASS: "success",
    Shown.NEUTRAL: "neutral",
    Shown.TMPFAIL: "action_required",
    Shown.DENYLISTED: "action_required",
    Shown.LOST: "action_required",
    Shown.CANCELLED: "cancelled",
}
#: Of a check run that another one stands for: two made it at the same time.
_STRAY = {
    "status": "completed",
    "conclusion": "neutral",
    "output": {"title": "Shown elsewhere", "summary": "Another check run of this name shows it."},
}
#: GitHub calls "maintain" write here, and "triage" read; Forgejo and Gitea have an owner.
_MAY_PUSH = ("admin", "write", "owner")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def repository(project: str) -> str:
    """``owner/name`` as part of an address. Raises ForgeError."""
    if len(project.split("/")) != 2 or ".." in project:
        raise ForgeError(f"{project[:100]!r} is not owner/project", lasting=True)
    return f"/repos/{quote(project, safe='/')}"


def commit_of(report: Report) -> str:
    """A commit's id as part of an address. Raises ForgeError."""
    if not _COMMIT.fullmatch(report.commit):
        raise ForgeError(f"{report.commit[:100]!r} is no commit's id", lasting=True)
    return report.commit


def _state(shown: Shown) -> str:
    # GitHub's states, which Forgejo and Gitea have too: failure is the package's, error is not.
    return _STATE.get(shown, "failure" if shown is Shown.FAIL else "error")


@dataclass(frozen=True)
class CommitStatuses:
    """Commit statuses of GitHub, Forgejo or Gitea, with a token that may write them.

    ``word`` is what the forge has before the token.
    """

    calls: Calls
    token: str = field(repr=False)
    word: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def github(cls, calls: Calls, token: str) -> CommitStatuses:
        """GitHub's own."""
        return cls(calls, token, "Bearer", _VERSION)

    @classmethod
    def forgejo(cls, calls: Calls, token: str) -> CommitStatuses:
        """Forgejo's and Gitea's, which have GitHub's ways."""
        return cls(calls, token, "token")

    def show(self, project: str, report: Report, memo: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        body = {"state": _state(report.shown), "context": report.context, "description": report.title}
        if report.url:
            body["target_url"] = report.url
        path = f"{repository(project)}/statuses/{commit_of(report)}"
        self.calls.within(SHOW_SECONDS).call("POST", path, self._headers(), body)
        return {}

    def pull_request(self, project: str, number: int) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        return pull_request_of(self.calls, self._headers(), project, number)

    def may_push(self, project: str, login: str) -> bool:
        """See `testyard.adapters.forge.Forge`."""
        return bool(self.token) and may_push(self.calls, self._headers(), project, login)

    def file(self, project: str, path: str, ref: str) -> bytes | None:
        """See `testyard.adapters.forge.Forge`."""
        return file_of(self.calls, f"{repository(project)}/contents/{quote(path)}", self._headers(), ref)

    def _headers(self) -> dict[str, str]:
        own = {"Authorization": f"{self.word} {self.token}"} if self.token else {}
        return {**self.headers, **own}


class GitHubApp:
    """Check runs as a GitHub App. Tokens of its installations are kept as long as they are good."""

    def __init__(self, calls: Calls, app_id: str, private_key: str) -> None:
        self._calls, self._app_id, self._key = calls, app_id, private_key
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[str, float]] = {}

    def show(self, project: str, report: Report, memo: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        calls = self._calls.within(SHOW_SECONDS)
        number = self._number(calls, project, report, memo, first=first)
        where = f"{repository(project)}/check-runs"
        if number is None:
            body = {"head_sha": commit_of(report), **_check(report)}
            found = self._call(calls, "POST", where, project, body)
        else:
            found = self._call(calls, "PATCH", f"{where}/{number}", project, _check(report))
        self._end_strays(calls, project, _numbers(memo.get("strays")) - {number})
        if not isinstance(found, dict) or not isinstance(found.get("id"), int):
            raise ForgeError("the answer names no check run")
        return {"check": found["id"], "request": report.request_id, "ended": report.shown.final}

    def pull_request(self, project: str, number: int) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        return pull_request_of(self._calls, self._headers(project), project, number)

    def may_push(self, project: str, login: str) -> bool:
        """See `testyard.adapters.forge.Forge`."""
        return may_push(self._calls, self._headers(project), project, login)

    def file(self, project: str, path: str, ref: str) -> bytes | None:
        """See `testyard.adapters.forge.Forge`."""
        return file_of(
            self._calls, f"{repository(project)}/contents/{quote(path)}", self._headers(project), ref
        )

    def _end_strays(self, calls: Calls, project: str, strays: set[int]) -> None:
        for stray in strays:
            try:
                self._call(calls, "PATCH", f"{repository(project)}/check-runs/{stray}", project, _STRAY)
            except ForgeError as error:
                if not (error.refused or error.lasting):  # else it is gone
                    raise

    def _number(
        self, calls: Calls, project: str, report: Report, memo: Mapping[str, Any], *, first: bool
    ) -> int | None:
        """The check run to change. One of an older request goes on as the newer one's if it has not ended."""
        known = memo.get("check")
        if isinstance(known, int) and (memo.get("request") == report.request_id or not memo.get("ended")):
            return known
        # we may have been killed between making it and writing its number down
        return None if first else self._look(calls, project, report)

    def _look(self, calls: Calls, project: str, report: Report) -> int | None:
        path = f"{repository(project)}/commits/{commit_of(report)}/check-runs"
        found = self._call(
            calls, "GET", path, project, None, check_name=report.context, filter="all", per_page="100"
        )
        runs = found.get("check_runs") if isinstance(found, dict) else None
        for run in runs if isinstance(runs, list) else ():
            if isinstance(run, dict) and run.get("external_id") == report.request_id:
                return run["id"] if isinstance(run.get("id"), int) else None
        return None

    def _call(
        self,
        calls: Calls,
        method: str,
        path: str,
        project: str,
        body: Mapping[str, Any] | None,
        **query: str,
    ) -> Any:
        try:
            return calls.call(method, path, self._headers(project, calls), body, **query)
        except ForgeError as error:
            if error.refused:
                with self._lock:  # it may have been taken back before its time
                    self._tokens.pop(project, None)
            raise

    def _headers(self, project: str, calls: Calls | None = None) -> dict[str, str]:
        with self._lock:
            token, until = self._tokens.get(project, ("", 0.0))
        if time.time() > until - _TOKEN_MARGIN:
            token = self._new_token(project, calls or self._calls)
        return {**_VERSION, "Authorization": f"Bearer {token}"}

    def _new_token(self, project: str, calls: Calls) -> str:
        headers = {**_VERSION, "Authorization": f"Bearer {self._own_token()}"}
        found = calls.call("GET", f"{repository(project)}/installation", headers)
        try:
            path = f"/app/installations/{int(found['id'])}/access_tokens"
            made = calls.call("POST", path, headers, {})
            token, until = str(made["token"]), datetime.fromisoformat(made["expires_at"]).timestamp()
        except (KeyError, TypeError, ValueError) as error:
            raise ForgeError(f"no token for {project}: {type(error).__name__}") from error
        with self._lock:
            self._tokens[project] = (token, until)
        return token

    def _own_token(self) -> str:
        now = int(time.time())
        claims = {"iat": now - _JWT_SKEW, "exp": now + _JWT_SECONDS, "iss": self._app_id}
        try:
            return jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(self._key))
        except (JoseError, ValueError) as error:
            raise ForgeError("private_key: not an RSA key in PEM form", refused=True) from error


def _numbers(memos: Any) -> set[int]:
    found = (memo.get("check") for memo in memos if isinstance(memo, dict)) if isinstance(memos, list) else ()
    return {number for number in found if isinstance(number, int)}


def _check(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": report.context,
        "external_id": report.request_id,
        "output": {
            "title": report.title,
            "summary": _cut(report.summary) or report.title,
        },
    }
    if report.url:
        found["details_url"] = report.url
    if not report.shown.final:
        return {**found, "status": "queued" if report.shown is Shown.QUEUED else "in_progress", "actions": []}
    if report.failed:
        found["output"]["annotations"] = [
            {
                "path": "debian/tests/control",
                "start_line": 1,
                "end_line": 1,
                "annotation_level": "failure",
                "title": plain(test.name, 200),
                "message": plain(test.reason, 1000) or "failed",
            }
            for test in report.failed[:_MOST_ANNOTATIONS]
        ]
    return {
        **found,
        "status": "completed",
        "conclusion": _CONCLUSION.get(report.shown, "failure"),
        "completed_at": datetime.fromtimestamp(report.ended or time.time(), UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        ),
        "actions": [_RERUN_ACTION],
    }


def _cut(summary: str) -> str:
    """Whole lines, as many as GitHub takes."""
    if len(summary) <= _LONGEST_SUMMARY:
        return summary
    return summary[: max(summary.rfind("\n", 0, _LONGEST_SUMMARY), 0)]


def may_push(calls: Calls, headers: Mapping[str, str], project: str, login: str) -> bool:
    """As GitHub, Forgejo and Gitea answer. False if our token may not ask. Raises ForgeError."""
    path = f"{repository(project)}/collaborators/{quote(login, safe='')}/permission"
    try:
        found = calls.call("GET", path, headers)
    except ForgeError as error:
        if error.refused or error.lasting:
            return False
        raise
    return isinstance(found, dict) and found.get("permission") in _MAY_PUSH


def pull_request_of(calls: Calls, headers: Mapping[str, str], project: str, number: int) -> dict[str, Any]:
    """A pull request as these forges describe it. Raises ForgeError."""
    pull = calls.call("GET", f"{repository(project)}/pulls/{number}", headers)
    if not isinstance(pull, dict):
        raise ForgeError("the answer is no pull request")
    return pull
