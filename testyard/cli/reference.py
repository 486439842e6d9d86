# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person may name a run by: ids, paths, addresses of its page, its request or its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from testyard import fields
from testyard.cli.edge import UsageError
from testyard.client import NotThereError, SiteClient
from testyard.errors import RequestError, ResultError, TestyardError
from testyard.run import RunId
from testyard.settings import Settings
from testyard.store import RunPath

_RUN_ID = re.compile(r"[0-9]{8}_[0-9]{6}(?:_[0-9a-f]{5})?")
#: The beginning of a request's id; the site finds the rest.
BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]{5,34}")
_FILES = ("log.gz", "artifacts.tar.gz", "result.tar")


@dataclass(frozen=True)
class Found:
    """What a reference leads to, as the site's JSON has it: a stored run, or a request without one yet."""

    run: dict[str, Any] | None = None
    request: dict[str, Any] | None = None


def canonical(reference: str, settings: Settings) -> str:
    """The request id, run id or path that is meant.

    Raises UsageError for an address of another site.
    """
    reference = reference.strip()
    if reference.startswith(("http://", "https://")):
        return _with_at(_of_address(reference, settings))
    if reference.startswith("/"):
        return _with_at(_of_page(unquote(reference)))
    return _with_at(reference.removesuffix("/"))


def canonical_path(path: str) -> str:
    """The request id, run id or path that a page's path on any site means; empty if it is no such page."""
    try:
        return _with_at(_of_page(unquote(path)))
    except UsageError:
        return ""


def find(site: SiteClient, reference: str) -> Found:
    """Ask the site for a canonical reference. Raises TestyardError if nothing is known by that name."""
    try:
        runs = listed(site.json(f"/runs/{quote(reference, safe='/@')}.json"), "runs", site.url)
        if runs:
            return Found(run=runs[0])
    except NotThereError:
        pass
    request_id = _request_id(reference)
    if request_id is None and BEGINNING.fullmatch(reference.lower()):
        return _find_beginning(site, reference.lower())
    if request_id:
        try:
            return Found(request=site.json(f"/requests/{request_id}.json"))
        except NotThereError as error:
            raise TestyardError(
                f"No request {request_id} is known to {site.url}.",
                resolution="It is known within seconds of being sent. Is this the instance it was sent to?",
            ) from error
    raise _unknown(reference, site)


def _find_beginning(site: SiteClient, text: str) -> Found:
    try:
        whole = str(site.json(f"/requests/{text}.json").get("request_id", ""))
    except NotThereError as error:
        raise TestyardError(error.brief, resolution="Give more of the id, or all of it.") from error
    if _request_id(whole) is None:
        raise TestyardError(f"{site.url}: its answer is no request; is site.url a Testyard site?")
    return find(site, whole)


def listed(answer: dict[str, Any], key: str, url: str) -> list[dict[str, Any]]:
    """A list in the site's answer. Raises TestyardError if something else answered."""
    found = answer.get(key)
    if not isinstance(found, list):
        raise TestyardError(f"{url}: its answer has no {key}; is site.url the address of a Testyard site?")
    return found


def _of_address(address: str, settings: Settings) -> str:
    store = settings.store.public_url.rstrip("/")
    if store and address.startswith(f"{store}/"):
        _container, _, path = unquote(address.removeprefix(f"{store}/")).partition("/")
        folder, _, file = path.rpartition("/")
        return folder if file in _FILES else path
    parts, own = urlsplit(address), urlsplit(settings.site.url)
    if parts.netloc != own.netloc:
        raise UsageError(
            f"RUN: {address} is no address of this site.",
            resolution=f"The site in use is {settings.site.url or 'not set'}; "
            "--state or TESTYARD_CONFIG names another.",
        )
    return _of_page(unquote(parts.path))


def _of_page(path: str) -> str:
    words = path.removesuffix(".json").strip("/").split("/")
    if words[0] in ("requests", "runs") and len(words) > 1:
        return "/".join(words[1:])
    if words[0] == "packages" and len(words) >= 5:  # the pool prefix may stand before the package
        source, release, architecture, run_id = words[-4:]
        try:
            return str(RunPath(release, architecture, source, RunId(_with_at(run_id))))
        except (ResultError, RequestError):
            pass
    raise UsageError(
        f"RUN: {path} is the address of no run.",
        resolution="Take the address of a run's page or of a request's page.",
    )


def _with_at(reference: str) -> str:
    return f"{reference}@" if _RUN_ID.fullmatch(reference.rpartition("/")[2]) else reference


def _request_id(reference: str) -> str | None:
    try:
        return fields.request_id("RUN", reference)
    except RequestError:
        return None


def _unknown(reference: str, site: SiteClient) -> TestyardError:
    if _RUN_ID.fullmatch(reference.rpartition("/")[2].removesuffix("@")):
        return TestyardError(
            f"No run {reference} is known to {site.url}.",
            resolution="It shows there once its result is stored. Is this the instance it ran on?",
        )
    try:
        package = fields.package_name(reference)
    except RequestError:
        package = "PACKAGE"
    return TestyardError(
        f"{reference!r} is no request id, run id, path or address of a run.",
        resolution=f"If it is a package, its runs are listed by: testyard results {package}",
    )
