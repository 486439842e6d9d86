# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store on OpenStack Swift, through python-swiftclient."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import swiftclient
from keystoneauth1.exceptions import CatalogException, Unauthorized
from keystoneauth1.exceptions import ClientException as KeystoneError
from requests.exceptions import RequestException, Timeout
from swiftclient.exceptions import ClientException
from urllib3.exceptions import HTTPError as TransportError

from testyard.adapters.swift_login import LONGEST_PAUSE, TIMEOUT, Login
from testyard.adapters.swift_pool import Pool
from testyard.errors import StoreError
from testyard.settings import Store as StoreSettings

#: Answers that mean "not there" to a reader. An anonymous or unauthorised reader of a missing
#: container gets 401, but we come with credentials.
_MISSING = 404
_CREATED = 201
_DAY = 86400  # seconds

#: Answers to a caller who has no right to what it asks for.
_REFUSED = (401, 403)


class SwiftStore:
    """`testyard.ports.Store` on Swift, for use by any thread: each call has a connection to itself.

    Connections are kept, and log in once between them. python-swiftclient tries again by itself
    (``store.retries``; 1, 2, 4, … s between), asks for a new token when the old one has run out, and
    rewinds what it sends.
    """

    def __init__(self, settings: StoreSettings, *, timeout: float = TIMEOUT) -> None:
        """``timeout``: seconds that one request may take without a sign of life."""
        self._retries = settings.retries
        self._pool = Pool(Login(settings, timeout=timeout))
        self._known: dict[str, str] = {}  # containers that are there, and who may read one that is made

    def __enter__(self) -> SwiftStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; they open again when used again."""
        self._pool.close()

    def ensure_container(self, container: str, *, read_acl: str = "") -> None:
        """See `testyard.ports.Store`."""
        if container in self._known:
            return
        with self._asking(f"create container {container}") as connection:
            try:
                connection.head_container(container)
            except ClientException as error:
                if error.http_status != _MISSING:
                    raise
                _make_container(connection, container, read_acl)
        self._known[container] = read_acl

    def create_container(self, container: str) -> bool:
        """See `testyard.ports.Store`. Swift: 201 to the one that made it, 202 to the others."""
        answer: dict[str, Any] = {}
        with self._asking(f"create container {container}") as connection:
            connection.put_container(container, response_dict=answer)
        return answer.get("status") == _CREATED

    def read_acl(self, container: str) -> str:
        """See `testyard.ports.Store`."""
        with self._asking(f"look at container {container}") as connection:
            try:
                return str(connection.head_container(container).get("x-container-read", ""))
            except ClientException:
                self._known.pop(container, None)
                raise

    def set_read_acl(self, container: str, acl: str) -> None:
        """See `testyard.ports.Store`."""
        with self._asking(f"change container {container}") as connection:
            connection.post_container(container, {"X-Container-Read": acl})

    def put(
        self,
        container: str,
        name: str,
        content: bytes | Path,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        expire_after: int | None = None,
    ) -> None:
        """See `testyard.ports.Store`."""
        headers: dict[str, str] = {}
        if content_encoding:
            headers["Content-Encoding"] = content_encoding
        if expire_after:
            # rounded up to a day: Swift keeps a note of each time that an object was ever to expire at,
            # and a claim is written every 20 s
            headers["X-Delete-At"] = str(-int(-(time.time() + expire_after) // _DAY) * _DAY)
        with self._asking(f"write {container}/{name}") as connection, _opened(content) as (stream, size):

            def write() -> None:
                connection.put_object(
                    container,
                    name,
                    contents=stream,
                    content_length=size,
                    content_type=content_type,
                    headers=dict(headers),
                )

            try:
                write()
            except ClientException as error:
                # once: another thread may find at the same time that the container has gone
                read_acl = self._known.get(container)
                if error.http_status != _MISSING or read_acl is None:
                    raise
                # somebody has removed the container since we saw it
                _make_container(connection, container, read_acl)
                stream.seek(0)
                write()

    def get(self, container: str, name: str) -> bytes | None:
        """See `testyard.ports.Store`."""
        with self._asking(f"read {container}/{name}") as connection:
            try:
                _headers, body = self._reading(connection, connection.get_object, container, name)
            except ClientException as error:
                if error.http_status == _MISSING:
                    return None
                raise
        return bytes(body)

    def names(
        self, container: str, *, prefix: str = "", delimiter: str = "", marker: str = ""
    ) -> Sequence[str]:
        """See `testyard.ports.Store`."""
        with self._asking(f"list {container}") as connection:
            try:
                _headers, entries = self._reading(
                    connection,
                    connection.get_container,
                    container,
                    prefix=prefix or None,
                    delimiter=delimiter or None,
                    marker=marker or None,
                    full_listing=True,
                )
            except ClientException as error:
                if error.http_status == _MISSING:
                    return ()
                raise
        return tuple(entry.get("name") or entry["subdir"] for entry in entries)

    def containers(self, *, prefix: str = "") -> Sequence[str]:
        """See `testyard.ports.Store`."""
        with self._asking("list the account") as connection:
            _headers, entries = self._reading(
                connection, connection.get_account, prefix=prefix or None, full_listing=True
            )
        return tuple(entry["name"] for entry in entries)

    def delete(self, container: str, name: str) -> None:
        """See `testyard.ports.Store`."""
        with self._asking(f"delete {container}/{name}") as connection:
            try:
                connection.delete_object(container, name)
            except ClientException as error:
                if error.http_status != _MISSING:
                    raise

    def _reading(
        self, connection: swiftclient.Connection, read: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        """Read; python-swiftclient tries again until an answer begins, and we when it breaks off."""
        for attempt in range(self._retries):
            try:
                return read(*args, **options)
            except TransportError:
                connection.close()
                time.sleep(min(2**attempt, LONGEST_PAUSE))
        return read(*args, **options)

    @contextmanager
    def _asking(self, action: str) -> Iterator[swiftclient.Connection]:
        with _errors(action), self._pool.connection() as connection:
            yield connection


def _make_container(connection: swiftclient.Connection, container: str, read_acl: str) -> None:
    connection.put_container(container, headers={"X-Container-Read": read_acl} if read_acl else {})


@contextmanager
def _opened(content: bytes | Path) -> Iterator[tuple[IO[bytes], int]]:
    """A stream and its length: python-swiftclient rewinds one, and does not send bytes a second time."""
    if isinstance(content, bytes):
        yield io.BytesIO(content), len(content)
    else:
        with content.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size


_CREDENTIALS = (
    "Check store.user and store.key, with Keystone also store.project and the domains, or else "
    "store.application_credential, whose secret is store.key."
)


@contextmanager
def _errors(action: str) -> Iterator[None]:
    """Turn the client libraries' errors into StoreError; no address or secret in the text."""
    try:
        yield
    except ClientException as error:
        raise StoreError(
            f"store: cannot {action}: {error.http_status or 'no answer'}",
            details=error.msg or "",
            resolution=_CREDENTIALS if error.http_status in _REFUSED else "",
        ) from error
    except Unauthorized as error:
        raise StoreError(
            f"store: cannot {action}: Keystone refuses the login", resolution=_CREDENTIALS
        ) from error
    except CatalogException as error:
        raise StoreError(
            f"store: cannot {action}: Keystone names no object store for this project",
            resolution="Check store.project and store.region; the region needs an object-store endpoint.",
        ) from error
    except (RequestException, TransportError, KeystoneError, OSError, ValueError) as error:
        silent = isinstance(error, Timeout | TimeoutError)
        what = "no answer" if silent else type(error).__name__
        raise StoreError(f"store: cannot {action}: {what}") from error
