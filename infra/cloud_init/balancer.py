# SPDX-License-Identifier: AGPL-3.0-or-later
"""The instance before site and functions: HAProxy, as in a local instance, and its certificate."""

from __future__ import annotations

from ipaddress import IPv4Address

from infra.cloud_init.common import FRONT_PORT, PORTS, WEB_PORT
from infra.cloud_init.document import Document, File, program
from infra.settings import addresses
from infra.settings.services import Balancer
from infra.settings.stage import Settings
from testyard.routes import HEALTH, ROUTES

#: The certificate and its key in one file; made here until there is a better one.
PEM = "/etc/haproxy/tls/site.pem"
#: Where certbot answers on this instance.
_ACME_PORT = 8402
_ACME_PATH = "/.well-known/acme-challenge/"

_HEAD = """\
# made by infra/cloud_init/balancer.py
global
    user haproxy
    group haproxy
    maxconn 20000
    log /dev/log local0 notice
    stats socket /run/haproxy/admin.sock mode 600 level admin
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    log global
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout http-request 30s
    timeout http-keep-alive 30s
    timeout queue 10s
    retries 4
    # another instance answers while one is made anew
    option redispatch
    retry-on conn-failure
    option forwardfor if-none
    option httpchk GET /health
    default-server check inter 2s fall 2 rise 1
"""
_UNSAID = """\
    # who asks is what the socket says, not what the client says
    http-request del-header X-Forwarded-For
"""
_RULES = f"""\
{_UNSAID}\
    http-request return status 200 content-type text/plain string "ok" if {{{{ path {{health}} }}}}
"""


def balancer(settings: Settings) -> str:
    """User data of the balancer's instance."""
    wanted = settings.balancer
    acme = wanted.tls == "acme"
    node = {"CODE_KIND": "", "TLS": wanted.tls, "HOST": wanted.host, "PEM": PEM}
    if acme:
        node |= {"ACME_EMAIL": wanted.acme_email, "ACME_URL": wanted.acme_url, "ACME_PORT": str(_ACME_PORT)}
    return Document(
        kind="balancer",
        name="balancer",
        node=node,
        packages=("haproxy", "openssl", *(("certbot",) if acme else ())),
        masked=("haproxy",),
        files=(
            program("testyard-start", source="start-balancer"),
            program("testyard-certificate"),
            File("/etc/haproxy/haproxy.cfg", haproxy_config(settings)),
        ),
    ).render()


def haproxy_config(settings: Settings) -> str:
    """haproxy.cfg."""
    home = settings.home.subnet
    nodes = addresses.functions(home, settings.functions.count)
    doors = [part for part in ("webhook", "request") if part in settings.functions.which]
    lines = [_HEAD, *_frontends(settings.balancer)]
    lines += [
        f"    use_backend {route.part} if {route.condition}\n" for route in ROUTES if route.part in doors
    ]
    lines.append("    default_backend web\n")
    lines += [_backend(part, PORTS[part], nodes) for part in doors]
    lines.append(_backend("web", WEB_PORT, addresses.web(home, settings.web.count)))
    if settings.balancer.tls == "acme":
        lines.append(f"backend acme\n    server certbot 127.0.0.1:{_ACME_PORT} no-check\n")
    return "".join(lines)


def _frontends(wanted: Balancer) -> list[str]:
    """The one that answers comes last, its routes follow."""
    rules = _RULES.format(health=HEALTH)
    if wanted.kind == "octavia":
        # the cloud's balancer has said who asks
        said = rules.replace(_UNSAID, "")
        return [f"frontend front\n    bind :{FRONT_PORT}\n", said]
    if wanted.tls == "none":
        return ["frontend front\n    bind :80\n", rules]
    plain = "frontend plain\n    bind :80\n"
    if wanted.tls == "acme":
        plain += f"    http-request redirect scheme https code 301 unless {{ path_beg {_ACME_PATH} }}\n"
        plain += f"    use_backend acme if {{ path_beg {_ACME_PATH} }}\n"
    else:
        plain += "    http-request redirect scheme https code 301\n"
    head = f"frontend front\n    bind :443 ssl crt {PEM} alpn h2,http/1.1\n"
    return [plain, head, rules, '    http-response set-header Strict-Transport-Security "max-age=31536000"\n']


def _backend(part: str, port: int, nodes: tuple[IPv4Address, ...]) -> str:
    servers = (f"    server {part}-{n} {address}:{port}\n" for n, address in enumerate(nodes, 1))
    return f"backend {part}\n{''.join(servers)}"
