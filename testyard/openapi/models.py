# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API takes and answers. The OpenAPI document is made from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

#: Requests of one call, each for an architecture of its own, and a call's largest body.
MOST_REQUESTS = 1000
LARGEST_BODY = 1024 * 1024

# pydantic's own length limits stand in the document as well
Text = Annotated[str, StringConstraints(max_length=1000)]
Item = Annotated[str, StringConstraints(max_length=4096)]
Items = Annotated[tuple[Item, ...], Field(max_length=1000)]
Names = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=100)], ...], Field(max_length=100)
]

State = Literal["queued", "running", "done", "rejected", "cancelled"]
Standing = Literal["accepted", "already queued", "already running", "already passed"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


class Ask(BaseModel):
    """A test that is asked for. Keys are those of a request's message."""

    # strict: 1 is no flag, and a number no name
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=_hyphens,
        hide_input_in_errors=True,
        title="Ask",
    )

    package: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="source package, or the name that stands for a project"
    )
    release: Text | None = Field(default=None, description="needed unless only one is configured")
    arch: Names | None = Field(
        default=None,
        min_length=1,
        description="one request is made for each; all on which the release is tested if not given",
    )
    context: Text | None = Field(
        default=None,
        description="kind of queue; from what is tested if not given: upstream, ppa or ubuntu",
    )
    triggers: Items = Field(default=(), description="source/version each")
    ppas: Items = Field(default=(), max_length=20, description="[user:token@]owner/name[:fingerprint] each")
    env: Items = Field(default=(), description="NAME=value each, for the test")
    test_git: Text | None = Field(default=None, description="repository with the tests: URL or URL#branch")
    build_git: Text | None = Field(default=None, description="repository to build and test")
    all_proposed: bool = Field(default=False, description="take all packages from the proposed pocket")
    testname: Text | None = Field(default=None, description="only this test of the package")
    readable_by: Items = Field(default=(), description="who may read the result, which is private then")
    swiftuser: Text | None = Field(default=None, description="store account that may read the private result")
    force: bool = Field(default=False, description="also if the same waits, runs or has passed already")

    def parameters(self) -> dict[str, Any]:
        """The keys of the request's message: only what was asked for."""
        told = self.model_dump(by_alias=True, exclude={"package", "release", "arch", "context", "force"})
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}
        found["all-proposed"] = "1" if self.all_proposed else None
        return {key: value for key, value in found.items() if value or key == "triggers"}


class Receipt(_Model):
    """What became of one request that was asked for."""

    id: str = Field(description="by which it is found from now on; empty for a run without a request")
    standing: Standing
    package: str
    release: str
    arch: str
    context: str
    queue: str
    status: str = Field(description="address of its state, for programs")
    page: str = Field(description="address of its page, for people")
    run: str | None = Field(description="path in the store of the run that passed already")


class Receipts(_Model):
    """The answer to a call that asks for tests."""

    requests: tuple[Receipt, ...] = Field(description="in the order in which they were asked for")
    notes: tuple[str, ...] = Field(description="what whoever asks should know")


class Cancelling(_Model):
    """A request that is being cancelled."""

    id: str
    state: State = Field(description="what it was when it was cancelled; a running one ends within a lease")
    reason: str


class Stage(_Model):
    """A part of a run's time."""

    name: str = Field(description="wait, tree, testbed, apt, build, install, test, finish or upload")
    test: str | None = Field(description="the test that it is about")
    started: datetime
    seconds: float | None = Field(description="null while it lasts")


class LogAddresses(_Model):
    """Where its log is read."""

    text: str = Field(description="the log so far; the whole of it once it is stored")
    events: str = Field(description="the same as server-sent events, as it grows")
    json_: str = Field(alias="json", description="the same piece by piece, for those who poll")


class Outcome(_Model):
    """How a run ended."""

    outcome: str = Field(description="pass, fail, neutral, tmpfail, error, denylisted or otherfail")
    exit_code: int
    explanation: str
    version: str
    duration: int = Field(description="seconds")
    completed: datetime
    run_id: str
    path: str = Field(description="in the store")
    page: str
    log: str
    artifacts: str
    result: str


class Status(_Model):
    """A request as it is now."""

    id: str
    state: State
    private: bool = Field(description="true: only who asked is told what it is")
    package: str
    release: str | None
    arch: str | None
    context: str | None
    queue: str
    requester: str | None
    triggers: tuple[str, ...]
    parameters: dict[str, Any] = Field(description="as they were asked for; secrets are masked")
    accepted: datetime | None
    started: datetime | None
    updated: datetime
    position: int | None = Field(description="of a queued one, when its page was asked for: 1 is the next")
    estimated_start: datetime | None = Field(
        description="of a queued one, from the pace of its queue in the last hours; null if there is none"
    )
    attempt: int = Field(description="0 until a worker has taken it")
    stage: Stage | None = Field(description="of a running one: what it is at")
    reason: str = Field(description="why it was given back, rejected or cancelled")
    log: LogAddresses | None = Field(description="of a running one, and of one that has ended")
    result: Outcome | None = Field(description="of one that is done")
    status: str = Field(description="this address")
    page: str


class Listing(_Model):
    """Requests, the newest first."""

    requests: tuple[Status, ...]
    next: str | None = Field(description="address of the older ones; null if there are none")


class FieldError(_Model):
    """A field that is wrong."""

    field: str = Field(description="such as triggers, or requests[3].arch where a list was sent")
    problem: str


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: tuple[FieldError, ...] | None = None
