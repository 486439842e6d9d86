# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forges that keep to what their public documentation says of the calls that we make.

The real ones cannot be reached from the tests. Each check of a header, field, state or length here is one
that their reference names; what it does not name is refused, so that a wrong field cannot pass unseen.

    with forge_server() as forge:
        forge.url, forge.statuses, forge.checks, forge.refuse(503, times=2)
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

#: A token that may write.
TOKEN = "forge-token-0123456789"
APP_ID = "4711"

_GITHUB = "/api/v3"
_GITLAB = "/api/v4"
_FORGEJO = "/api/v1"

CONCLUSIONS = {"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}
GITLAB_STATES = {"pending", "running", "success", "failed", "canceled", "skipped"}


_PERMISSION = re.compile(r"/repos/([^/]+/[^/]+)/collaborators/([^/]+)/permission")
_FILE = re.compile(r"/api/v\d/(?:repos|projects)/(.+?)/(?:contents|repository/files)/(.+)")


@cache
def _key() -> RSAKey:
    return RSAKey.generate_key(2048)  # 0.1 to 1 s: one for all


@dataclass(frozen=True)
class Said:
    """A status as the forge has taken it."""

    project: str
    commit: str
    body: dict[str, Any]

    @property
    def state(self) -> str:
        return str(self.body["state"])


class RefusalError(Exception):
    def __init__(self, status: int, message: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass
class ForgeServer:
    """What it was told, in order; and what it shall do wrong."""

    url: str = ""
    key: RSAKey = field(default_factory=_key)
    statuses: list[Said] = field(default_factory=list)
    checks: dict[int, dict[str, Any]] = field(default_factory=dict)
    #: Every state that a check run has had, by its number.
    check_states: dict[int, list[str]] = field(default_factory=dict)
    pulls: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    #: Files by project, path and commit or branch.
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    #: What somebody may do with a project: admin, write, read, none; on GitLab the access level.
    permissions: dict[tuple[str, str], str | int] = field(default_factory=dict)
    #: Commits that are in no branch, as those of a merge request from another project (GitLab).
    unreachable: set[str] = field(default_factory=set)
    app_tokens: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    #: Called with each call's path once it was done and before it is answered.
    before_answer: Callable[[str], None] = lambda _path: None
    _refusals: list[RefusalError] = field(default_factory=list)
    hang: float = 0.0
    #: Calls that have come, also those that hang.
    arrived: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def private_key(self) -> str:
        return self.key.as_pem(private=True).decode()

    def refuse(self, status: int, *, times: int = 1, message: str = "no", **headers: str) -> None:
        """Answer the next calls so, and do nothing. Headers with _ for -."""
        with self.lock:
            self._refusals += [RefusalError(status, message, **headers)] * times

    def states(self, context: str) -> list[str]:
        """What was told for a context, in order."""
        with self.lock:
            return [
                said.state
                for said in self.statuses
                if context in (said.body.get("context"), said.body.get("name"))
            ]

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        with self.lock:
            self.calls.append(f"{method} {parts.path}")
            if self._refusals:
                raise self._refusals.pop(0)
        need(bool(headers.get("User-Agent")), 403, "Request forbidden by administrative rules.")
        if found := _FILE.fullmatch(parts.path):
            return self._file(unquote(found[1]), unquote(found[2]), parse_qs(parts.query)["ref"][0])
        given = json.loads(body) if body else {}
        for begin, handle in ((_GITHUB, self._github), (_GITLAB, self._gitlab), (_FORGEJO, self._forgejo)):
            if parts.path.startswith(begin):
                path = parts.path.removeprefix(begin)
                return handle(method, path, headers, given, parse_qs(parts.query))
        raise RefusalError(404, "Not Found")

    # GitHub

    def _github(
        self, method: str, path: str, headers: Any, body: dict[str, Any], query: Any
    ) -> tuple[int, Any]:
        need(headers["Accept"] == "application/vnd.github+json", 415, "Accept")
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        need(scheme == "Bearer", 401, "Requires authentication")
        if method == "GET" and (found := re.fullmatch(r"/repos/([^/]+/[^/]+)/pulls/(\d+)", path)):
            need(token == TOKEN or token in self.app_tokens, 401, "Bad credentials")
            return 200, self._pull(found[1], int(found[2]))
        if found := re.fullmatch(_PERMISSION, path):
            need(token == TOKEN or token in self.app_tokens, 401, "Bad credentials")
            return 200, {"permission": self.permissions.get((found[1], found[2]), "none")}
        if found := re.fullmatch(r"/repos/([^/]+/[^/]+)/statuses/([0-9a-f]{40})", path):
            need(token == TOKEN, 401, "Bad credentials")
            return self._github_status(found[1], found[2], body)
        if path == "/repos/jane/tool/installation" or path.startswith("/app/"):
            return self._installation(method, path, token)
        need(token in self.app_tokens, 403, "You must authenticate via a GitHub App.")
        if method == "GET":
            return self._listed(path, query)
        return self._check_run(method, path, body)

    def _github_status(self, project: str, commit: str, body: dict[str, Any]) -> tuple[int, Any]:
        fields(body, {"state", "target_url", "description", "context"}, {"state"})
        need(body["state"] in ("error", "failure", "pending", "success"), 422, "state")
        short(body, "description", 140)
        return self._keep(project, commit, body)

    def _installation(self, method: str, path: str, token: str) -> tuple[int, Any]:
        try:
            claims = jwt.decode(token, self.key, algorithms=["RS256"]).claims
        except Exception as error:
            raise RefusalError(401, "A JSON web token could not be decoded") from error
        need(claims["iss"] == APP_ID, 401, "Integration not found")
        need(claims["exp"] - time.time() <= 600, 401, "'Expiration time' claim is too far in the future")
        need(claims["iat"] <= time.time() < claims["exp"], 401, "'Issued at' claim is in the future")
        if path.endswith("/installation"):
            return 200, {"id": 99}
        need(method == "POST" and path == "/app/installations/99/access_tokens", 404, "Not Found")
        self.app_tokens.append(f"ghs_{len(self.app_tokens)}")
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return 201, {"token": self.app_tokens[-1], "expires_at": until}

    def _listed(self, path: str, query: Any) -> tuple[int, Any]:
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)/commits/([0-9a-f]{40})/check-runs", path)
        need(found is not None, 404, "Not Found")
        assert found
        name = query.get("check_name", [""])[0]
        runs = [run for run in self.checks.values() if run["head_sha"] == found[2] and run["name"] == name]
        return 200, {"total_count": len(runs), "check_runs": runs[::-1]}

    def _check_run(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        known = {"name", "head_sha", "details_url", "external_id", "status", "started_at", "conclusion"}
        known |= {"completed_at", "output", "actions"}
        need("name" in body or method == "PATCH", 422, "name")
        fields(body, known, {"name", "head_sha"} if method == "POST" else set())
        need(body.get("status") in ("queued", "in_progress", "completed"), 422, "status")
        need((body["status"] == "completed") == ("conclusion" in body), 422, "conclusion")
        conclusions = [
            "action_required",
            "cancelled",
            "failure",
            "neutral",
            "success",
            "skipped",
            "timed_out",
        ]
        need(body.get("conclusion", "success") in conclusions, 422, "conclusion")
        self._output(body.get("output", {"title": "-", "summary": "-"}))
        need(len(body.get("actions", [])) <= 3, 422, "actions")
        for action in body.get("actions", []):
            fields(action, {"label", "description", "identifier"}, {"label", "description", "identifier"})
            for name, most in (("label", 20), ("description", 40), ("identifier", 20)):
                short(action, name, most)
        with self.lock:
            if method == "POST":
                need(re.fullmatch(r"/repos/[^/]+/[^/]+/check-runs", path) is not None, 404, "Not Found")
                number = len(self.checks) + 1
                self.checks[number] = {"id": number}
                self.check_states[number] = []
            else:
                number = int(path.rpartition("/")[2])
                need(number in self.checks, 404, "Not Found")
            self.checks[number].update(body)
            self.check_states[number].append(body.get("conclusion") or body["status"])
            return 201 if method == "POST" else 200, self.checks[number]

    def _output(self, output: dict[str, Any]) -> None:
        fields(output, {"title", "summary", "text", "annotations", "images"}, {"title", "summary"})
        short(output, "summary", 65535)
        short(output, "text", 65535)
        need(bool(output["title"] and output["summary"]), 422, "output")
        need(len(output.get("annotations", [])) <= 50, 422, "annotations")
        needed = {"path", "start_line", "end_line", "annotation_level", "message"}
        for note in output.get("annotations", []):
            fields(note, needed | {"title", "raw_details", "start_column", "end_column"}, needed)
            need(note["annotation_level"] in ("notice", "warning", "failure"), 422, "annotation_level")
            short(note, "title", 255)

    # GitLab

    def _gitlab(
        self, method: str, path: str, headers: Any, body: dict[str, Any], _query: Any
    ) -> tuple[int, Any]:
        need(headers.get("PRIVATE-TOKEN") == TOKEN, 401, "401 Unauthorized")
        project, _, rest = path.removeprefix("/projects/").partition("/")
        need("%2F" in project, 404, "404 Project Not Found")
        project = unquote(project)
        if method == "GET" and rest.startswith("merge_requests/"):
            return 200, self._pull(project, int(rest.rpartition("/")[2]))
        if method == "GET" and rest == "members/all":
            return 200, self._members(project, _query["query"][0])
        need(method == "POST" and re.fullmatch(r"statuses/[0-9a-f]{40}", rest) is not None, 404, "404")
        known = {"state", "name", "context", "ref", "target_url", "description", "coverage", "pipeline_id"}
        fields(body, known, {"state"}, 400)
        need(
            body["state"] in ["pending", "running", "success", "failed", "canceled", "skipped"], 400, "state"
        )
        for name in ("name", "target_url", "description"):
            short(body, name, 255, 400)
        known_ref = "ref" in body or any(said.commit == rest.rpartition("/")[2] for said in self.statuses)
        need(
            known_ref or rest.rpartition("/")[2] not in self.unreachable,
            404,
            "404 References for commit Not Found",
        )
        before = self.states(body["name"])[-1:]
        steps = {"pending": ("pending", "running"), "running": ("running",)}
        if before and before[0] in steps.get(body["state"], ()):
            event = {"pending": "enqueue", "running": "run"}[body["state"]]
            raise RefusalError(400, f"Cannot transition status via :{event} from :{before[0]} (Reason(s): …)")
        return self._keep(project, rest.rpartition("/")[2], body)

    # Forgejo, Gitea

    def _forgejo(
        self, method: str, path: str, headers: Any, body: dict[str, Any], _query: Any
    ) -> tuple[int, Any]:
        need(headers.get("Authorization") == f"token {TOKEN}", 401, "invalid username, password or token")
        if method == "GET" and (found := re.fullmatch(r"/repos/([^/]+/[^/]+)/pulls/(\d+)", path)):
            return 200, self._pull(found[1], int(found[2]))
        if method == "GET" and (found := re.fullmatch(_PERMISSION, path)):
            return 200, {"permission": self.permissions.get((found[1], found[2]), "none")}
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)/statuses/([0-9a-f]{40})", path)
        need(found is not None and method == "POST", 404, "Not Found")
        assert found
        fields(body, {"context", "description", "state", "target_url"}, {"state"})
        need(body["state"] in ("pending", "success", "error", "failure", "warning"), 422, "state")
        return self._keep(found[1], found[2], body)

    def _file(self, project: str, path: str, ref: str) -> tuple[int, Any]:
        need((project, path, ref) in self.files, 404, "Not Found")
        content = base64.encodebytes(self.files[project, path, ref]).decode()  # in lines, as GitHub does
        return 200, {"type": "file", "encoding": "base64", "content": content}

    def _keep(self, project: str, commit: str, body: dict[str, Any]) -> tuple[int, Any]:
        need(body.get("target_url", "http://").startswith(("http://", "https://")), 422, "target_url")
        with self.lock:
            self.statuses.append(Said(project, commit, body))
            return 201, {"id": len(self.statuses), **body}

    def _members(self, project: str, query: str) -> list[dict[str, Any]]:
        found = [(login, level) for (where, login), level in self.permissions.items() if where == project]
        return [
            {"id": 1, "username": login, "state": "active", "access_level": level}
            for login, level in found
            if query in login
        ]

    def _pull(self, project: str, number: int) -> dict[str, Any]:
        need((project, number) in self.pulls, 404, "Not Found")
        return self.pulls[project, number]


def need(right: bool, status: int, message: str) -> None:
    if not right:
        raise RefusalError(status, message)


def fields(body: dict[str, Any], known: set[str], needed: set[str], status: int = 422) -> None:
    need(set(body) <= known, status, f"unknown: {sorted(set(body) - known)}")
    need(needed <= set(body), status, f"missing: {sorted(needed - set(body))}")


def short(body: dict[str, Any], name: str, most: int, status: int = 422) -> None:
    need(len(str(body.get(name, ""))) <= most, status, f"{name} is too long (maximum is {most} characters)")


@contextmanager
def forge_server() -> Iterator[ForgeServer]:
    """All three kinds on one port of the loopback: github at /api/v3, gitlab /api/v4, forgejo /api/v1."""
    forge = ForgeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            forge.arrived += 1
            time.sleep(forge.hang)
            more: dict[str, str] = {}
            try:
                status, answer = forge.answer(self.command, self.path, self.headers, body)
            except RefusalError as refusal:
                status, answer, more = refusal.status, {"message": refusal.message}, refusal.headers
            forge.before_answer(self.path)
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    forge.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
