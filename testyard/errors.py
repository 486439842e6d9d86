# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything that can go wrong, by whose business it is.

    TestyardError
    ├── RequestError      the requester's: never retried, parked or answered with the field's name
    ├── ResultError       a stored result or message that cannot be read
    ├── SettingsError     the operator's: a setting is missing or wrong
    ├── TestbedError      ours or the host's: the request is tried again
    │   └── LastingTestbedError   … but not by itself
    ├── ForbiddenError    who asks may not; asking again does not help
    ├── MissingError      there is no such thing, or whoever asks may not see it
    ├── ConflictError     it is no longer, or not yet, as it would have to be
    ├── LimitError        too much was asked at once: try again later
    ├── OutsideError      somebody on the network cannot be reached, or answers badly
    │   ├── TooMuchError         … or answers more than is taken
    │   └── RefusedAddressError  … or must not be asked
    ├── BrokerError       RabbitMQ: tried again with backoff
    │   └── NotSentError  … and the message surely is not there
    │       └── NotTakenError  … though the broker is: it has no such queue, or that is full
    ├── StoreError        Swift: tried again with backoff
    ├── ForgeError        GitHub, GitLab, Forgejo: tried again with backoff
    └── CancelledRun      someone asked for it

Anything else is a bug and is reported as one.
"""

from __future__ import annotations

import re


def words_of(error: BaseException) -> str:
    """What an error of Python's says, without the system's number for it; its kind if it says nothing."""
    return re.sub(r"\[Errno -?[0-9]+\] ", "", str(error)) or type(error).__name__


class TestyardError(Exception):
    """Root of the tree; carries what a person needs to act.

    ``brief`` is one line, ``details`` may be several, ``resolution`` says what to do.
    """

    __test__ = False  # its name begins with Test; pytest must not collect it

    def __init__(self, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        return "\n".join(part for part in (self.brief, self.details, self.resolution) if part)


class RequestError(TestyardError):
    """A test request that can never work. ``field`` names the offending part."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class ResultError(TestyardError):
    """A result, path or message in the store or on the wire that cannot be read."""


class SettingsError(TestyardError):
    """A setting is missing or wrong."""


class TestbedError(TestyardError):
    """The testbed could not be made or was lost; not the package's fault."""


class LastingTestbedError(TestbedError):
    """The next attempt would end the same, until somebody mends something."""


class BrokerError(TestyardError):
    """The message broker could not be reached, or refused."""


class NotSentError(BrokerError):
    """Nothing of the message reached the broker."""


class NotTakenError(NotSentError):
    """The broker is there, and does not take this message: it has no such queue, or that is full."""


class ForbiddenError(TestyardError):
    """Who asks may not. ``login`` is true if it is not known who asks, and logging in may help."""

    def __init__(self, brief: str, *, login: bool = False, resolution: str = "") -> None:
        super().__init__(brief, resolution=resolution)
        self.login = login


class MissingError(TestyardError):
    """There is no such thing; or whoever asks may not know that there is."""


class ConflictError(TestyardError):
    """It is no longer so, or not yet; ``retry_after`` is in seconds, 0 if waiting does not help."""

    def __init__(self, brief: str, *, retry_after: float = 0) -> None:
        super().__init__(brief)
        self.retry_after = retry_after


class LimitError(TestyardError):
    """Too much was asked at once; ``retry_after`` is in seconds."""

    def __init__(self, brief: str, *, retry_after: float) -> None:
        super().__init__(brief)
        self.retry_after = retry_after


class OutsideError(TestyardError):
    """Somebody on the network could not be reached, or answers too much, too slowly or badly."""


class TooMuchError(OutsideError):
    """It answers more than is taken, and will again."""


class RefusedAddressError(OutsideError):
    """An address that must not be asked: it leads inside, or is none at all."""


class StoreError(TestyardError):
    """The object store could not be reached, or refused."""


class ForgeError(TestyardError):
    """A forge could not be reached, or refused. ``retry_after`` is what it asks for, in seconds.

    ``refused``: our credentials, or their rights, must be mended. ``lasting``: what we say is never right.
    ``away``: it did not answer at all. ``unasked``: it was not asked, because it is known to be away or
    asked us to wait.
    """

    def __init__(
        self,
        brief: str,
        *,
        retry_after: float | None = None,
        refused: bool = False,
        lasting: bool = False,
        away: bool = False,
        unasked: bool = False,
    ) -> None:
        super().__init__(brief)
        self.retry_after, self.refused, self.lasting = retry_after, refused, lasting
        self.away, self.unasked = away, unasked


class CancelledRun(TestyardError):  # noqa: N818  it is a decision, not an error
    """The run was asked to end."""
