# SPDX-License-Identifier: AGPL-3.0-or-later
"""Old ``REGION.rc`` and ``REGION-ARCH.rc`` files become entries of clouds.yaml and regions of a stage.

The files are shell that sets ``OS_*``; they are read, and never run.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from infra.settings import Architecture
from testyard.errors import TestyardError

_SET = re.compile(r"^\s*(?:export\s+)?(OS_[A-Z0-9_]+)=(.*)$")
_NAME = re.compile(r"(?P<region>[A-Za-z0-9_][A-Za-z0-9_-]*?)(?:-(?P<arch>[a-z0-9]+))?\.rc")
#: Variable → key below ``auth``.
_AUTH: Mapping[str, str] = {
    "OS_AUTH_URL": "auth_url",
    "OS_USERNAME": "username",
    "OS_USER_ID": "user_id",
    "OS_PASSWORD": "password",
    "OS_PROJECT_NAME": "project_name",
    "OS_TENANT_NAME": "project_name",
    "OS_PROJECT_ID": "project_id",
    "OS_TENANT_ID": "project_id",
    "OS_USER_DOMAIN_NAME": "user_domain_name",
    "OS_USER_DOMAIN_ID": "user_domain_id",
    "OS_PROJECT_DOMAIN_NAME": "project_domain_name",
    "OS_PROJECT_DOMAIN_ID": "project_domain_id",
    "OS_APPLICATION_CREDENTIAL_ID": "application_credential_id",
    "OS_APPLICATION_CREDENTIAL_SECRET": "application_credential_secret",
}
#: Those without a suffix are for these.
_USUAL = (Architecture.AMD64, Architecture.I386)


@dataclass(frozen=True)
class Cloud:
    """One file: ``entry`` is that of clouds.yaml, with its secrets."""

    name: str
    region: str
    architectures: tuple[Architecture, ...]
    entry: Mapping[str, object]


def read_rc(path: Path) -> Cloud:
    """Raises TestyardError naming the file and what is wrong in it, without what stands there."""
    found = _NAME.fullmatch(path.name)
    if not found:
        raise TestyardError(f"{path}: is not named REGION.rc or REGION-ARCH.rc")
    region, word = found["region"], found["arch"]
    if word and word not in list(Architecture):  # lcy02-something: all of it is the region's name
        region, word = f"{region}-{word}", None
    try:
        variables = _variables(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TestyardError(
            f"{path}: cannot be read as lines of OS_NAME=value: {type(error).__name__}"
        ) from error
    if "OS_AUTH_URL" not in variables:
        raise TestyardError(f"{path}: sets no OS_AUTH_URL")
    entry: dict[str, object] = {
        "region_name": variables.get("OS_REGION_NAME", region),
        "identity_api_version": 3,
        "auth": {key: variables[name] for name, key in _AUTH.items() if name in variables},
    }
    if "OS_APPLICATION_CREDENTIAL_ID" in variables:
        entry["auth_type"] = "v3applicationcredential"
    if "OS_CACERT" in variables:
        entry["cacert"] = variables["OS_CACERT"]
    architectures = (Architecture(word),) if word else _USUAL
    return Cloud(path.name.removesuffix(".rc").lower(), region, architectures, entry)


def merged(clouds: Iterable[Cloud]) -> tuple[Cloud, ...]:
    """Files of one account in one region are one cloud with all their architectures."""
    found: dict[str, Cloud] = {}
    for cloud in clouds:
        key = json.dumps(cloud.entry, sort_keys=True)
        first = found.get(key)
        if first is None:
            found[key] = cloud
        else:
            names = dict.fromkeys((*first.architectures, *cloud.architectures))
            found[key] = replace(first, architectures=tuple(names))
    return tuple(found.values())


def clouds_yaml(clouds: Iterable[Cloud]) -> str:
    """The file, as JSON, which is YAML; it has secrets."""
    entries = {cloud.name: cloud.entry for cloud in clouds}
    return json.dumps({"clouds": entries}, indent=2) + "\n"


def stage_part(clouds: Iterable[Cloud]) -> str:
    """The tables ``[[regions]]`` of a stage's file; what only the operator knows is left to fill in."""
    parts = []
    regions: set[object] = set()
    for number, cloud in enumerate(clouds):
        names = ", ".join(json.dumps(str(each)) for each in cloud.architectures)
        region = cloud.entry["region_name"]
        again = (
            "# another account in the same region: give it a stage of its own\n" if region in regions else ""
        )
        regions.add(region)
        parts.append(
            f"{again}[[regions]]\n"
            f"name = {json.dumps(region)}\n"
            f"cloud = {json.dumps(cloud.name)}\n"
            f"architectures = [{names}]\n"
            'external_network = "public"  # the network that routers lead to\n'
            f'subnet = "10.44.{number}.0/24"  # of your choice\n'
        )
    return "\n".join(parts)


def _variables(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        if match := _SET.match(line):
            words = shlex.split(match[2], comments=True)
            # a prompt for the password, such as $INPUT, is no value
            if len(words) == 1 and "$" not in words[0]:
                found[match[1]] = words[0]
    return found
