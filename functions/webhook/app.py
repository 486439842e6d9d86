# SPDX-License-Identifier: AGPL-3.0-or-later
"""The webhook function: deliveries of forges → queue `testyard-hooks`, confirmed, before they are answered.

It has no database, so that it starts in 0.3 s and answers in milliseconds. What was taken is worked on by
the forge function.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from functions.logs import start_logging
from functions.webhook.hook import event_of, forge_of, id_of, named_in, payload_of, project_of, relevant
from functions.webhook.reply import (
    GoneError,
    Receive,
    ReplyError,
    Room,
    Scope,
    Send,
    answer,
    headers_of,
    read_body,
    serve_lifespan,
    within,
)
from functions.webhook.settings import WebhookSettings, load_webhook_settings
from functions.webhook.signature import signed
from testyard.adapters.amqp import HOOKS_QUEUE
from testyard.adapters.async_publisher import AsyncPublisher
from testyard.errors import BrokerError
from testyard.intake.delivery import MOST_BYTES, Delivery
from testyard.intake.projects import FORGES, ProjectFile

log = logging.getLogger(__name__)

#: Bytes of all bodies in memory at once; beyond it who comes is asked to come again.
_ROOM = 32 * 1024 * 1024
#: Bytes that are read before it is known who signed them: 5 ms and 2 MB at most. Deliveries of pull requests
#: have 10 to 60 kB.
_UNSIGNED = 64 * 1024
#: Seconds in which a body must have come. GitHub itself gives up after 10.
_BODY_SECONDS = 10.0
#: Seconds after which a broker that does not confirm counts as away; less than GitHub's 10.
_PATIENCE = 5.0
#: Characters behind the ``?`` of a hook's address.
_LONGEST_QUERY = 8192
#: Refused deliveries a second that the audit log is told of.
_TOLD = 10


def create_app(*, idle: float | None = None) -> WebhookApp:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment. Raises SettingsError.

    ``idle``: seconds without a message after which the broker is connected to anew.
    """
    start_logging()
    return WebhookApp(load_webhook_settings(), idle=idle)


@dataclass(frozen=True)
class _Asked:
    """One call, before anything of it is believed."""

    forge: str
    headers: dict[str, str]
    query: str
    address: str


class WebhookApp:
    """ASGI: ``POST /hooks/<forge>``, ``POST /request.cgi``, ``GET /health``."""

    def __init__(self, settings: WebhookSettings, *, idle: float | None = None) -> None:
        self._projects = ProjectFile(settings.projects)
        self._proxies = tuple(ip_network(proxy, strict=False) for proxy in settings.trusted_proxies)
        self._publisher = AsyncPublisher(
            settings.broker_url, queues=(HOOKS_QUEUE,), patience=_PATIENCE, idle=idle
        )
        self._room = Room(_ROOM)
        self._refusals = _Refusals(self._publisher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, or the app's life."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send, self._start, self._publisher.close)
            return
        if scope["type"] != "http":
            return  # nobody has business with a websocket here
        try:
            status, content = await self._serve(scope, receive)
        except ReplyError as error:
            await answer(send, error.status, error.content(), problem=True, retry_after=error.retry_after)
        except GoneError:
            return
        except Exception:  # the outermost place: no traceback to the forge
            log.exception("a bug")
            await answer(send, 500, {"title": "A bug", "status": 500}, problem=True)
        else:
            await answer(send, status, content)

    async def _start(self) -> None:
        with suppress(BrokerError):  # it may come later
            await self._publisher.open()

    async def _serve(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, object]]:
        path, method = scope["path"], scope["method"]
        if path == "/health" and method in ("GET", "HEAD"):
            return await self._health()
        headers = headers_of(scope)
        forge = _forge(path, headers)
        if method != "POST":
            raise ReplyError(405, "Not allowed", "Deliveries of hooks are sent with POST.")
        query = scope.get("query_string", b"").decode("latin-1")
        if len(query) > _LONGEST_QUERY:
            raise ReplyError(
                414, "Too long", f"What stands behind the ? may have {_LONGEST_QUERY} characters."
            )
        asked = _Asked(forge, headers, query, self._client(scope, headers))
        body = await within(_BODY_SECONDS, read_body(receive, headers, self._room, most=MOST_BYTES))
        try:
            return await self._take(asked, body)
        finally:
            self._room.left += len(body)

    async def _health(self) -> tuple[int, dict[str, object]]:
        reason = ""
        try:
            await self._publisher.open()
        except BrokerError as error:
            reason = error.brief
        return (503 if reason else 200), {"healthy": not reason, "reason": reason}

    async def _take(self, asked: _Asked, body: bytes) -> tuple[int, dict[str, object]]:
        if len(body) > _UNSIGNED:
            self._check(asked, body, *named_in(asked.forge, body))  # before any of it is read
        delivery, project = self._read(asked, body)
        self._check(asked, body, project)
        if not delivery.body:
            raise ReplyError(
                400, "No payload", "The body must be a JSON object, or a form with one in payload."
            )
        if delivery.event == "ping":
            return 200, {"status": "pong"}
        if not relevant(asked.forge, delivery.event):
            return 200, {"status": "not relevant", "event": delivery.event}
        try:
            await self._publisher.publish("", HOOKS_QUEUE, delivery.to_bytes(), mandatory=True)
        except BrokerError as error:
            log.warning("%s", error.brief)
            raise ReplyError(
                503, "No broker", "The delivery could not be kept. Send it again later.", retry_after=10
            ) from error
        return 202, {"status": "taken", "delivery": delivery.id}

    def _check(self, asked: _Asked, body: bytes, *names: str) -> None:
        """Raises ReplyError unless one of these projects' secrets signed it."""
        projects = self._projects.now()
        # all of them, known or not: how long it takes shall not tell which ones are
        found = [
            signed(projects.of(asked.forge, name), asked.forge, asked.headers, body)
            for name in names or ("",)
        ]
        if not any(found):
            self._refusals.tell(replace(_delivery(asked), refused="its signature is wrong"))
            # one answer for all that is wrong: nobody can ask which projects there are
            raise ReplyError(
                403, "Not signed", "There is no such project here, or its secret did not sign this delivery."
            )

    def _read(self, asked: _Asked, body: bytes) -> tuple[Delivery, str]:
        delivery = _delivery(asked)
        try:
            text, payload = payload_of(asked.headers, body)
        except (ValueError, KeyError):
            return delivery, ""  # who has no secret is not told more than that
        project = project_of(asked.forge, payload)
        return replace(delivery, project=project, body=text), project

    def _client(self, scope: Scope, headers: dict[str, str]) -> str:
        address = str((scope.get("client") or ("",))[0])
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            nearer = _address(hop.strip())
            if nearer is None or not self._trusts(_address(address)):
                break
            address = str(nearer)
        return address[:100]

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._proxies)


class _Refusals:
    """Tells the audit log of refused deliveries, few a second; nobody waits for it."""

    def __init__(self, publisher: AsyncPublisher) -> None:
        self._publisher = publisher
        self._tasks: set[asyncio.Task[None]] = set()
        self._second, self._told, self._left_out = 0, 0, 0

    def tell(self, delivery: Delivery) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._told = second, 0
        if self._told >= _TOLD:
            self._left_out += 1
            return
        self._told += 1
        told, self._left_out = replace(delivery, query="", left_out=self._left_out), 0
        task = asyncio.ensure_future(self._send(told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, delivery: Delivery) -> None:
        with suppress(BrokerError):
            await self._publisher.publish("", HOOKS_QUEUE, delivery.to_bytes(), mandatory=True)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _delivery(asked: _Asked) -> Delivery:
    return Delivery(
        forge=asked.forge,
        project="",
        event=event_of(asked.forge, asked.headers),
        id=id_of(asked.forge, asked.headers),
        query=asked.query,
        address=asked.address,
    )


def _forge(path: str, headers: dict[str, str]) -> str:
    if path == "/request.cgi":  # set up for autopkgtest-cloud
        if forge := forge_of(headers):
            return forge
        raise ReplyError(400, "No hook", "This is not a delivery of a forge: it has none of their headers.")
    forge = path.removeprefix("/hooks/")
    if forge not in FORGES or forge == path:
        raise ReplyError(
            404, "Not found", f"Hooks are sent to /hooks/<forge>; forges are {', '.join(FORGES)}."
        )
    return forge
