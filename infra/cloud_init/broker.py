# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node of the broker: RabbitMQ of Debian 12, TLS only, data on a volume."""

from __future__ import annotations

import json
from typing import Any

from infra.cloud_init.common import VHOST, names
from infra.cloud_init.document import Document, File, etc, program
from infra.settings.stage import Settings

AMQPS_PORT = 5671
_DATA = "/srv/data"
_TLS = "/etc/rabbitmq/tls"
#: Our queues and exchanges, and those that RabbitMQ names for a client that asks for any name.
_OURS = r"^(debci-.*|testyard[.-].*|teststatus\.fanout|testcomplete\.fanout|amq\.gen-.*)$"
_OURS_AND_DEFAULT = _OURS.replace(r"|amq\.gen-.*", r"|amq\.gen-.*|amq\.default")
_TRACED = _OURS.replace(r"|amq\.gen-.*", r"|amq\.gen-.*|amq\.rabbitmq\.trace")

#: Account → what it may configure, write and read. What is not here may nothing.
RIGHTS: dict[str, tuple[str, str, str]] = {
    "worker": (_OURS, _OURS_AND_DEFAULT, _OURS),
    "functions": (_OURS, _OURS_AND_DEFAULT, _TRACED),
    # migration software: requests, which go by the default exchange, and nothing else
    "publisher": ("^$", r"^amq\.default$", "^$"),
}


def broker(settings: Settings, number: int) -> str:
    """User data of the node ``broker-NUMBER``; the first is 1."""
    name = f"broker-{number}"
    return Document(
        kind="broker",
        name=name,
        node={"DATA_DIR": _DATA, "CODE_KIND": ""},
        packages=("rabbitmq-server",),
        masked=("rabbitmq-server",),
        files=(
            names(settings),
            program("testyard-start", source="start-broker"),
            program("testyard-volume"),
            program("testyard-broker-definitions"),
            etc("broker.json", json.dumps(definitions(settings.broker.nodes), indent=1)),
            File("/etc/rabbitmq/rabbitmq.conf", config(settings.broker.nodes)),
            File("/etc/rabbitmq/advanced.config", f'[{{rabbit, [{{trace_vhosts, [<<"{VHOST}">>]}}]}}].\n'),
            File(
                "/etc/rabbitmq/rabbitmq-env.conf",
                f"NODENAME=rabbit@{name}\nMNESIA_BASE={_DATA}/rabbitmq\n",
            ),
        ),
    ).render()


def config(nodes: int) -> str:
    """rabbitmq.conf."""
    lines = [
        "listeners.tcp = none",
        f"listeners.ssl.default = {AMQPS_PORT}",
        f"ssl_options.cacertfile = {_TLS}/authority.crt",
        f"ssl_options.certfile = {_TLS}/server.crt",
        f"ssl_options.keyfile = {_TLS}/server.key",
        # clients are known by their passwords
        "ssl_options.verify = verify_none",
        "ssl_options.fail_if_no_peer_cert = false",
        "ssl_options.versions.1 = tlsv1.3",
        "ssl_options.versions.2 = tlsv1.2",
        # a run may hold its request unacknowledged that long: 2 days, in ms
        "consumer_timeout = 172800000",
        "disk_free_limit.absolute = 1GB",
        "log.connection.level = warning",
    ]
    if nodes > 1:
        lines += [
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{n} = rabbit@broker-{n}" for n in range(1, nodes + 1)),
            # whoever sees less than half of the others takes nothing: no request is run twice for it
            "cluster_partition_handling = pause_minority",
        ]
    return "".join(f"{line}\n" for line in lines)


def definitions(nodes: int) -> dict[str, Any]:
    """What the node is to have; users get their passwords from the secrets (testyard-broker-definitions)."""
    rights = [
        {"user": user, "vhost": VHOST, "configure": configure, "write": write, "read": read}
        for user, (configure, write, read) in RIGHTS.items()
    ]
    mirrored = {
        "vhost": VHOST,
        "name": "testyard-mirrored",
        "pattern": "^(debci-|testyard-)",
        "apply-to": "queues",
        "priority": 0,
        # queues have no arguments, as old clients expect, so it is a policy that keeps a second copy
        "definition": {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"},
    }
    return {
        "vhosts": [{"name": VHOST}],
        "permissions": rights,
        "policies": [mirrored] if nodes > 1 else [],
    }
