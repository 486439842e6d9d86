# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instances of the functions, and of the site: any number, all alike, nothing on them is kept."""

from __future__ import annotations

from typing import Any

from infra.cloud_init.balancer import haproxy_config
from infra.cloud_init.common import PORTS, SECRETS, WEB_PORT, code, names, topology
from infra.cloud_init.document import Document, File, etc, program
from infra.settings import addresses
from infra.settings.stage import Settings
from testyard.tomltext import toml_text

#: Which setting names an operator's file.
_FILES = {
    "policy": ("intake", "policy"),
    "logins": ("intake", "logins"),
    "projects": ("intake", "projects"),
    "rules": ("notify", "rules"),
}


def functions(settings: Settings, number: int) -> str:
    """User data of the instance ``functions-NUMBER``; the first is 1."""
    which = settings.functions.which
    values, files = code(settings, "service")
    ports = (etc(f"ports/{each}.env", f"PORT={PORTS[each]}\n") for each in which)
    units = " ".join(f"testyard-function@{each}" for each in which)
    return Document(
        kind="functions",
        name=f"functions-{number}",
        node={**values, "SERVICES": units},
        files=(
            *files,
            names(settings),
            program("testyard-start", source="start-service"),
            etc("functions.toml", function_settings(settings)),
            *ports,
        ),
    ).render()


def web(settings: Settings, number: int) -> str:
    """User data of the instance ``web-NUMBER``; the first is 1."""
    values, files = code(settings, "service")
    shared = settings.balancer.kind == "octavia"
    front = (File("/etc/haproxy/haproxy.cfg", haproxy_config(settings)),) if shared else ()
    return Document(
        kind="web",
        name=f"web-{number}",
        node={**values, "SERVICES": "testyard-web haproxy" if shared else "testyard-web"},
        packages=("haproxy",) if shared else (),
        files=(
            *files,
            *front,
            names(settings),
            program("testyard-start", source="start-service"),
            etc("ports/web.env", f"PORT={WEB_PORT}\n"),
            etc("web.toml", toml_text({"topology": topology(settings), "site": {"url": site_url(settings)}})),
        ),
    ).render()


def site_url(settings: Settings) -> str:
    """The address that people use."""
    balancer = settings.balancer
    host = balancer.host or str(addresses.balancer(settings.home.subnet))
    return f"http{'s' if balancer.tls != 'none' else ''}://{host}"


def function_settings(settings: Settings) -> str:
    """All functions' settings without secrets."""
    intake: dict[str, Any] = {
        # octavia takes addresses of the subnet's that are not known beforehand
        "trusted_proxies": [str(addresses.balancer(settings.home.subnet))]
        if settings.balancer.kind == "haproxy"
        else [str(settings.home.subnet)],
        "tidy_interval": 300,
    }
    found: dict[str, dict[str, Any]] = {
        "topology": topology(settings),
        "site": {"url": site_url(settings)},
        "intake": intake,
    }
    for each in settings.functions.files:
        section, key = _FILES[each]
        found.setdefault(section, {})[key] = f"{SECRETS}/{each}.toml"
    return toml_text(found)
