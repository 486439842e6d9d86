# SPDX-License-Identifier: AGPL-3.0-or-later
"""What instances are told, tried with the real programs: HAProxy, RabbitMQ, PostgreSQL, a store."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pika
import psycopg
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAccessDeniedError
from psycopg import errors

from infra.cloud_init import balancer
from infra.cloud_init.broker import RIGHTS, definitions
from infra.cloud_init.common import VHOST
from infra.cloud_init.database import database
from infra.settings import Settings, load_settings
from tests.certificates import Authority
from tests.postgres import Postgres, postgres_server
from tests.servers import Rabbit, Swift, rabbit_node
from testyard.adapters.amqp import declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.errors import ResultError
from testyard.inventory import INVENTORY, inventory_text, object_name
from testyard.local.rabbitmq import node_environment, node_name
from testyard.queue import QueueName
from testyard.settings import Store
from worker import remotes

FILES = Path(balancer.__file__).parent / "files"
MAKER = FILES / "testyard-broker-definitions"


# HAProxy


def stage(name: str, **values: object) -> Settings:
    return Settings.model_validate({**load_settings(name).model_dump(), **values})


FILES_TLS = {"host": "testyard.example.com", "public": True, "tls": "files"}


@pytest.mark.parametrize(
    "settings",
    [
        stage("devel"),
        stage("production"),
        stage("production", balancer=FILES_TLS),
        stage(
            "production", balancer={**FILES_TLS, "kind": "octavia", "certificate_ref": "https://b.example/1"}
        ),
    ],
    ids=["plain", "acme", "files", "octavia"],
)
def test_haproxy_finds_nothing_odd_in_its_file(settings: Settings, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("testyard.example.com")
    pem = tmp_path / "site.pem"
    pem.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    text = balancer.haproxy_config(settings).replace(balancer.PEM, str(pem))
    file = tmp_path / "haproxy.cfg"
    # its folder is made by its service
    file.write_text(text.replace("/run/haproxy", str(tmp_path)))
    done = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [
        line for line in (done.stdout + done.stderr).splitlines() if "WARN" in line or "ALERT" in line
    ]


def test_each_instance_is_behind_it() -> None:
    text = balancer.haproxy_config(load_settings("production"))
    servers = [line.split()[1:3] for line in text.splitlines() if line.startswith("    server ")]
    assert ["web-3", "10.46.0.42:8080"] in servers
    assert ["request-2", "10.46.0.21:8003"] in servers
    assert len(servers) == 3 + 2 * 2 + 1


# RabbitMQ


PASSWORDS = {"worker": "for-the-worker", "functions": "for-functions", "publisher": "for-britney"}
QUEUE = QueueName("ubuntu", "bookworm", "amd64")


def ctl(node: Rabbit, *words: str) -> str:
    environment = {**os.environ, **node_environment(node.state)}
    argv = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet", "-n", node_name(node.state), *words]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A node with the users and rights of a deployed one."""
    folder = tmp_path_factory.mktemp("definitions")
    (folder / "broker.json").write_text(json.dumps(definitions(3)))
    (folder / "users.json").write_text(json.dumps(PASSWORDS))
    made = subprocess.run(
        [sys.executable, MAKER, folder / "broker.json", folder / "users.json"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (folder / "definitions.json").write_text(made)
    assert not [password for password in PASSWORDS.values() if password in made]
    with rabbit_node(folder / "node") as found:
        for _again in range(2):
            ctl(found, "import_definitions", str(folder / "definitions.json"))
        yield found


def channel(node: Rabbit, user: str) -> BlockingChannel:
    address = f"amqp://{user}:{PASSWORDS[user]}@127.0.0.1:{node.state.ports['broker']}/{VHOST}"
    opened = pika.BlockingConnection(pika.URLParameters(address)).channel()
    opened.confirm_delivery()
    return opened


def refused(action: str, node: Rabbit, user: str) -> bool:
    """True if the broker says no to a call of a channel, given as its name and arguments."""
    with channel(node, user).connection as connection:
        opened = connection.channel()
        opened.confirm_delivery()
        name, _, rest = action.partition(" ")
        words = rest.split()
        try:
            match name:
                case "declare":
                    opened.queue_declare(words[0], durable=True)
                case "read":
                    opened.basic_get(words[0], auto_ack=True)
                case "bind":
                    opened.queue_bind(words[0], words[1], "publish.")
                case "purge":
                    opened.queue_purge(words[0])
                case "publish":
                    opened.basic_publish(words[0].replace("default", ""), words[1], b"x")
                case _:
                    raise AssertionError(action)
        except ChannelClosedByBroker as error:
            if error.reply_code != 403:
                raise
            return True
    return False


def test_migration_software_may_send_requests_and_nothing_else(node: Rabbit) -> None:
    with channel(node, "worker").connection as connection:
        declare_topology(connection.channel(), [QUEUE])
    assert not refused(f"publish default {QUEUE}", node, "publisher")
    for action in (
        f"read {QUEUE}",
        f"purge {QUEUE}",
        f"declare {QUEUE}x",
        "publish testcomplete.fanout x",
        "publish teststatus.fanout x",
        "publish testyard.events x",
        "publish amq.topic x",
    ):
        assert refused(action, node, "publisher"), action


@pytest.mark.parametrize("user", ["worker", "functions"])
def test_services_may_what_they_must(node: Rabbit, user: str) -> None:
    with channel(node, user).connection as connection:
        declare_topology(connection.channel(), [QUEUE])
    for action in (
        f"publish default {QUEUE}",
        f"read {QUEUE}",
        "publish testcomplete.fanout x",
        "publish testyard.events x",
        "declare testyard-order-0f",
        "read testyard-order-0f",
    ):
        assert not refused(action, node, user), action
    for action in ("declare other", "publish amq.topic x", "publish amq.direct x"):
        assert refused(action, node, user), action


def test_a_wrong_password_and_another_host_are_refused(node: Rabbit) -> None:
    port = node.state.ports["broker"]
    for address in (f"worker:wrong@127.0.0.1:{port}/{VHOST}", f"guest:guest@127.0.0.1:{port}/{VHOST}"):
        with pytest.raises((ProbableAccessDeniedError, ConnectionClosedByBroker, pika.exceptions.AMQPError)):
            pika.BlockingConnection(pika.URLParameters(f"amqp://{address}"))


def test_queues_without_arguments_are_mirrored(node: Rabbit) -> None:
    with channel(node, "worker").connection as connection:
        declare_topology(connection.channel(), [QUEUE])
    rows = ctl(node, "list_queues", "-p", VHOST, "name", "policy", "arguments").splitlines()
    found = dict(line.split("\t")[:2] for line in rows)
    assert found[str(QUEUE)] == "testyard-mirrored"
    assert {found[name] for name in found if name.startswith("testyard-")} == {"testyard-mirrored"}


def test_whoever_has_no_password_is_no_user(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(json.dumps(definitions(1)))
    (tmp_path / "u").write_text(json.dumps({"worker": "x", "publisher": ""}))
    done = subprocess.run(
        [sys.executable, MAKER, tmp_path / "b", tmp_path / "u"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    made = json.loads(done.stdout)
    assert (
        [user["name"] for user in made["users"]] == [row["user"] for row in made["permissions"]] == ["worker"]
    )
    assert set(RIGHTS) == {"worker", "functions", "publisher"}


# PostgreSQL


def roles(folder: Path) -> str:
    found = json.loads(database(load_settings("devel")).partition("\n")[2])["write_files"]
    (text,) = [file["content"] for file in found if file["path"] == "/etc/testyard/roles.sql"]
    return str(text).replace("/run/testyard/passwords", str(folder))


def connect(postgres: Postgres, user: str, password: str, name: str) -> psycopg.Connection[tuple[object]]:
    host = postgres.log.parent
    return psycopg.connect(host=str(host), user=user, password=password, dbname=name, autocommit=True)


def test_functions_write_and_the_site_reads(tmp_path: Path) -> None:
    with postgres_server() as postgres:
        environment = {**os.environ, "PGPASSWORD": postgres.password}
        (tmp_path / "roles.sql").write_text(roles(tmp_path))
        argv = [
            "psql",
            "--quiet",
            "--no-psqlrc",
            "-h",
            postgres.log.parent,
            "-U",
            "testyard",
            "-d",
            "postgres",
        ]
        for password in ("o'ne\"; $$ \\", "two"):  # a second time: another password, nothing lost
            for role in ("functions", "site"):
                (tmp_path / role).write_text(f"{role} {password}")
            done = subprocess.run(
                [*argv, "-f", tmp_path / "roles.sql"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            with connect(postgres, "functions", f"functions {password}", "testyard") as writer:
                writer.execute("CREATE TABLE IF NOT EXISTS run (id int)")
                writer.execute("INSERT INTO run VALUES (1)")
        with connect(postgres, "functions", "functions two", "intake") as writer:
            writer.execute("CREATE TABLE token (id int)")
        with connect(postgres, "site", "site two", "testyard") as reader:
            assert reader.execute("SELECT count(*) FROM run").fetchone() == (2,)
            for statement in ("INSERT INTO run VALUES (2)", "CREATE TABLE x (id int)", "DROP TABLE run"):
                with pytest.raises(errors.InsufficientPrivilege):
                    reader.execute(statement)
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(postgres, "site", "site two", "intake")
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            connect(postgres, "site", "site one", "testyard")


# secrets


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def take(folder: Path, data: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "TESTYARD_SECRETS": str(folder)}
    return subprocess.run(
        [sys.executable, FILES / "testyard-take-secrets"],
        input=data,
        env=environment,
        capture_output=True,
        check=False,
    )


def test_secrets_are_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "etc" / "secrets"
    assert take(folder, archive(**{"worker.env": b"A=1\n", "old.key": b"x"})).returncode == 0
    assert take(folder, archive(**{"worker.env": b"A=2\n"})).returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "worker.env": b"A=2\n",
        "complete": b"",
    }
    assert not [path for path in folder.iterdir() if path.stat().st_mode & 0o007]
    assert [path.name for path in folder.parent.iterdir()] == ["secrets"]


@pytest.mark.parametrize(
    "name", ["../passwd.key", "/etc/x.key", "a/b.key", ".hidden", "complete", "x" * 70 + "/"]
)
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "etc" / "secrets"
    assert take(folder, archive(**{"worker.env": b"A=1\n"})).returncode == 0
    done = take(folder, archive(**{"fine.key": b"", name: b"x"}))
    assert done.returncode == 1
    assert b"is no plain file" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["complete", "worker.env"]


def test_neither_links_nor_too_much_nor_no_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("a.key")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(member)
    for data in (buffer.getvalue(), archive(**{"a.key": bytes(2 << 20)}), b"secret words", b""):
        done = take(tmp_path / "secrets", data)
        assert (done.returncode, b"Traceback" in done.stderr, b"secret words" in done.stderr) == (
            1,
            False,
            False,
        )
        assert not (tmp_path / "secrets").exists()


# the worker's LXD hosts


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    pair = Authority(tmp_path / "ca").issue("lxd")
    folder = tmp_path / "secrets"
    folder.mkdir()
    shutil.copy(pair.certificate, folder / "lxd-server.crt")
    return folder


def host(name: str) -> dict[str, object]:
    return {"name": name, "address": f"https://{name}:8443", "slots": 3, "architectures": ["armhf"]}


def inventory(*names: str) -> bytes:
    return inventory_text({"armhf": {}}, {"w-1": [host(name) for name in names], "w-2": []}).encode()


def test_a_worker_finds_its_hosts_and_a_new_one(
    store_node: Swift, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = tmp_path.name
    section = {"auth_version": "1", "auth_url": store_node.auth_url, "user": store_node.user}
    monkeypatch.setenv("TESTYARD_SECRETS", str(certificates))
    monkeypatch.setenv("TESTYARD_STORE__KEY", store_node.key)
    for key, value in section.items():
        monkeypatch.setenv(f"TESTYARD_STORE__{key.upper()}", value)
    monkeypatch.setenv("TESTYARD_CONFIG", "")  # put back at the end
    base, file = tmp_path / "base.toml", tmp_path / "worker.toml"
    base.write_text('[topology]\nreleases = ["sid"]\narchitectures = ["armhf"]\n\n[worker]\nname = "w-1"\n')
    store = SwiftStore(Store.model_validate({**section, "key": store_node.key}))
    argv = [region, str(base), str(file)]

    def hosts() -> list[str]:
        assert remotes.main(argv) == 0
        monkeypatch.setenv("TESTYARD_CONFIG", str(file))
        return [one.name for one in remotes.load_settings().worker.hosts]

    assert hosts() == ["none"]  # no inventory yet: it takes nothing
    store.ensure_container(INVENTORY)
    store.put(INVENTORY, object_name(region), inventory("a"))
    assert hosts() == ["a"]
    first = file.stat().st_mtime_ns
    assert hosts() == ["a"]
    assert file.stat().st_mtime_ns == first  # nothing new, nothing written
    store.put(INVENTORY, object_name(region), inventory("a", "b"))
    assert hosts() == ["a", "b"]
    store.put(INVENTORY, object_name(region), b"[]")
    before = file.read_text()
    assert remotes.main(argv) == 1
    assert file.read_text() == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"workers": []}',
        b'{"workers": {"w-1": [1]}}',
        b"\xff",
        b'{"workers": {"w-1": [{}]}}',
    ],
)
def test_an_inventory_that_is_none_is_said_to_be(store_node: Swift, certificates: Path, body: bytes) -> None:
    store = SwiftStore(
        Store.model_validate(
            {
                "auth_version": "1",
                "auth_url": store_node.auth_url,
                "user": store_node.user,
                "key": store_node.key,
            }
        )
    )
    store.ensure_container(INVENTORY)
    store.put(INVENTORY, object_name("odd"), body)
    with pytest.raises(ResultError, match="inventory"):
        remotes.remote_hosts(store, "odd", "w-1", certificates)
