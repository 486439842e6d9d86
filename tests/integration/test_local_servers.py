# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real RabbitMQ and the real Swift of a local instance: who gets in, what is left, what lasts."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pika
import pika.exceptions
import psutil
import pytest

from tests import servers
from testyard.adapters.amqp import queue_length
from testyard.errors import TestyardError
from testyard.local import keeper, processes, supervisor
from testyard.local.health import check_broker
from testyard.local.ports import free_ports
from testyard.local.rabbitmq import EPMD, node_environment
from testyard.local.state import LocalState

KINDS = ("account", "container", "object")
SERVERS = ("broker", "store")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Rabbit]:
    with servers.rabbit_node(tmp_path_factory.mktemp("rabbit") / "state") as node:
        yield node


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Swift]:
    with servers.swift_server(tmp_path_factory.mktemp("swift") / "state") as server:
        yield server


def login(swift: servers.Swift) -> dict[str, str]:
    answer = httpx.get(swift.auth_url, headers={"X-Auth-User": swift.user, "X-Auth-Key": swift.key})
    assert answer.status_code == 200
    assert answer.headers["X-Storage-Url"] == swift.public_url
    return {"X-Auth-Token": answer.headers["X-Auth-Token"]}


def listening(pid: int) -> list[tuple[str, int]]:
    """Addresses and ports that a process tree listens on, UDP included."""
    found = []
    for process in processes.tree(pid):
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN or not connection.raddr:
                found.append((connection.laddr.ip, connection.laddr.port))
    return found


def assert_on_loopback_only(pid: int, ports: set[int]) -> None:
    found = listening(pid)
    assert {port for _, port in found} == ports
    assert all(ipaddress.ip_address(address).is_loopback for address, _ in found), found


# --- RabbitMQ ---------------------------------------------------------------------------------------


def test_the_worker_gets_in(rabbit: servers.Rabbit) -> None:
    assert check_broker(rabbit.url) == ""


@pytest.mark.parametrize("vhost", ["%2F", "testyard"])
def test_guest_is_refused(rabbit: servers.Rabbit, vhost: str) -> None:
    port = rabbit.state.ports["broker"]
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/{vhost}"))


def test_a_wrong_password_is_refused(rabbit: servers.Rabbit) -> None:
    port = rabbit.state.ports["broker"]
    assert "refuses the password" in check_broker(f"amqp://worker:wrong@127.0.0.1:{port}/testyard")


def test_rabbitmq_listens_on_loopback_only(rabbit: servers.Rabbit) -> None:
    ports = rabbit.state.ports
    parts = ("broker", "broker-epmd", "broker-distribution")
    assert_on_loopback_only(rabbit.pid, {*(ports[part] for part in parts), rabbit.tls_port})


def test_a_message_outlives_sigkill(rabbit: servers.Rabbit) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbit.url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True)
    time.sleep(3)  # mnesia writes within 2 s that there is a queue; the message itself is confirmed
    channel.basic_publish("", "kept", b"x", pika.BasicProperties(delivery_mode=2), mandatory=True)
    family = processes.tree(rabbit.pid)
    rabbit.kill()
    # epmd as well: Erlang's own would stay for ever
    assert processes.wait_gone(family, seconds=5)
    rabbit.start()
    connection = pika.BlockingConnection(pika.URLParameters(rabbit.url))
    assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"x"
    connection.close()


def test_a_daemon_that_a_killed_node_left_is_in_nobodys_way(rabbit: servers.Rabbit) -> None:
    rabbit.kill()
    environment = node_environment(rabbit.state)
    give_up = time.monotonic() + 10
    while not (daemons := rabbitmq_daemons(rabbit.state)):
        assert time.monotonic() < give_up  # the port is free once the old node's own has ended
        subprocess.run([EPMD, "-daemon"], env=environment, check=False)
        time.sleep(0.2)
    rabbit.start()
    assert processes.wait_gone(daemons, seconds=1)
    with pika.BlockingConnection(pika.URLParameters(rabbit.url)) as connection:
        assert connection.is_open


def rabbitmq_daemons(state: LocalState) -> list[psutil.Process]:
    """Name servers without a parent that the instance's nodes have left."""
    port = str(state.ports["broker-epmd"])
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "epmd" and "-daemon" in process.cmdline():
                found += [process] if process.environ().get("ERL_EPMD_PORT") == port else []
    return found


def test_ctrl_c_leaves_a_followed_request_where_it_is(rabbit: servers.Rabbit, tmp_path: Path) -> None:
    config = tmp_path / "testyard.toml"
    config.write_text(
        f'[broker]\nurl = "{rabbit.url}"\n[site]\nurl = "http://127.0.0.1:1"\n'
        '[topology]\nreleases = ["noble"]\narchitectures = ["amd64"]\n'
    )
    environment = {**os.environ, "TESTYARD_CONFIG": str(config)}
    environment.pop("TESTYARD_STATE", None)
    command = [sys.executable, "-m", "testyard"]
    assert subprocess.run([*command, "broker", "setup"], env=environment, check=False).returncode == 0
    follow = subprocess.Popen(
        # who starts the tests in a shell's background has told them to ignore SIGINT
        ["env", "--default-signal=INT", *command, "request", "demo", "--follow"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with closing(pika.BlockingConnection(pika.URLParameters(rabbit.url))) as connection:
            while (queue_length(connection, "debci-noble-amd64") or (0, 0))[0] == 0:
                assert follow.poll() is None
                time.sleep(0.05)
            assert follow.stdout
            request_id = follow.stdout.readline().split()[1]  # it watches when it has said so
            follow.send_signal(signal.SIGINT)
            _, said = follow.communicate(timeout=30)
            assert queue_length(connection, "debci-noble-amd64") == (1, 0)
    finally:
        follow.kill()
    assert follow.returncode == 130
    assert f"request {request_id} goes on by itself" in said
    assert f"testyard follow {request_id}" in said
    assert "Traceback" not in said


# --- Swift ------------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused(swift: servers.Swift) -> None:
    answer = httpx.get(swift.auth_url, headers={"X-Auth-User": swift.user, "X-Auth-Key": "wrong"})
    assert answer.status_code == 401
    assert httpx.put(f"{swift.public_url}/c").status_code == 401


def test_swift_listens_on_loopback_only(swift: servers.Swift) -> None:
    parts = ("store", *(f"store-{kind}" for kind in KINDS))
    assert_on_loopback_only(swift.pid, {swift.state.ports[part] for part in parts})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("headers", [{}, {"X-Testyard-Back-End": "wrong"}, {"X-Testyard-Back-End": "\u00e9"}])
def test_back_ends_refuse_strangers(swift: servers.Swift, kind: str, headers: dict[str, str]) -> None:
    address = f"http://127.0.0.1:{swift.state.ports[f'store-{kind}']}/d1/0/AUTH_testyard"
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    for method in ("GET", "PUT", "DELETE", "REPLICATE"):
        assert httpx.request(method, address, headers=encoded).status_code == 401


def test_readers_need_no_login_where_the_acl_says_so(swift: servers.Swift) -> None:
    token = login(swift)
    public, private = f"{swift.public_url}/public", f"{swift.public_url}/private"
    acl = {"X-Container-Read": ".r:*,.rlistings"}
    assert httpx.put(public, headers={**token, **acl}).status_code == 201
    assert httpx.put(private, headers=token).status_code == 201
    for name in ("a@1", "a@2", "b@1", "c.tar"):
        for container in (public, private):
            assert httpx.put(f"{container}/{name}", headers=token, content=b"body").status_code == 201
    assert httpx.get(f"{public}/a@1").content == b"body"
    assert httpx.get(public, params={"delimiter": "@"}).text.split() == ["a@", "b@", "c.tar"]
    assert httpx.get(public, params={"delimiter": "@", "format": "json"}).json()[0] == {"subdir": "a@"}
    assert httpx.get(public, params={"prefix": "a@", "marker": "a@1"}).text.split() == ["a@2"]
    assert httpx.put(f"{public}/x", content=b"").status_code == 401
    assert httpx.get(private).status_code == 401
    assert httpx.get(f"{private}/a@1").status_code == 401


def test_the_back_ends_secret_reaches_no_client(swift: servers.Swift) -> None:
    token = login(swift)
    url = f"{swift.public_url}/secretless"
    httpx.put(url, headers=token)
    httpx.put(f"{url}/o", headers=token, content=b"x")
    for method in ("GET", "HEAD", "POST"):
        headers = httpx.request(method, f"{url}/o", headers=token).headers
        assert not [name for name in headers if "back-end" in name.lower()]


def test_sigkill_loses_no_acknowledged_object_and_ends_the_housekeeper(swift: servers.Swift) -> None:
    token = login(swift)
    url = f"{swift.public_url}/kept"
    httpx.put(url, headers=token)
    acknowledged: list[str] = []

    def put(number: int) -> None:
        try:
            answer = httpx.put(f"{url}/{number}", headers=token, content=b"x" * 50_000)
        except httpx.HTTPError:
            return
        if answer.status_code == 201:
            acknowledged.append(str(number))

    with ThreadPoolExecutor(8) as pool:
        for number in range(200):
            pool.submit(put, number)
        while len(acknowledged) < 20:
            time.sleep(0.01)
        family = processes.tree(swift.pid)
        swift.kill()
    assert len(family) == 2
    assert processes.wait_gone(family, seconds=5)
    swift.start()
    # the old token still counts
    listed = set(httpx.get(url, headers=token).text.split())
    assert set(acknowledged) <= listed
    for name in acknowledged:
        assert len(httpx.get(f"{url}/{name}", headers=token).content) == 50_000


def test_a_dead_housekeeper_is_replaced(swift: servers.Swift) -> None:
    _, housekeeper = processes.tree(swift.pid)
    housekeeper.kill()
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        family = [each for each in processes.tree(swift.pid) if processes.is_alive(each)]
        if len(family) == 2 and family[1] != housekeeper:
            return
        time.sleep(0.1)
    pytest.fail("no new housekeeper")


# --- both, kept by supervisord ----------------------------------------------------------------------


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[LocalState]:
    state = LocalState.load_or_create(tmp_path / "one folder")
    yield state
    supervisor.down(state)
    assert_nothing_left(state.path)


def assert_nothing_left(folder: Path) -> None:
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except psutil.Error:
            continue
        if process.pid not in mine and processes.is_alive(process):
            assert not any(str(folder) in word for word in words), words


def by_name(parts: tuple[supervisor.PartStatus, ...]) -> dict[str, supervisor.PartStatus]:
    return {part.name: part for part in parts}


def test_two_instances_side_by_side(instance: LocalState, tmp_path: Path) -> None:
    other = LocalState.load_or_create(tmp_path / "two")
    try:
        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(lambda state: supervisor.up(state, only=SERVERS), (instance, other))
        for parts in (by_name(one), by_name(two)):
            assert all(parts[name].healthy and parts[name].rss_bytes > 10_000_000 for name in SERVERS)
            assert not parts["web"].healthy
            assert parts["web"].reason == "not started"
        assert supervisor.down(other) == SERVERS
        assert_nothing_left(other.path)
        assert by_name(supervisor.status(instance))["broker"].healthy
        assert supervisor.down(other) == ()
    finally:
        supervisor.down(other)


def test_up_again_changes_nothing_and_the_keeper_mends(instance: LocalState) -> None:
    first = by_name(supervisor.up(instance, only=("store",)))["store"]
    said: list[str] = []
    again = by_name(supervisor.up(instance, lambda _part, text: said.append(text), only=("store",)))["store"]
    assert again.pid == first.pid
    assert "starting" not in said
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    third = by_name(supervisor.up(instance, only=("store",)))["store"]
    assert third.healthy
    assert third.pid != first.pid


def test_a_new_port_starts_everything_anew(instance: LocalState) -> None:
    supervisor.up(instance, only=("store",))
    old = instance.ports["store"]
    moved = LocalState.load_or_create(instance.path, ports={"store": free_ports(1)[0]})
    assert by_name(supervisor.up(moved, only=("store",)))["store"].healthy
    assert moved.ports["store"] != old
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{old}/healthcheck")


def test_a_killed_keeper_confuses_nobody(instance: LocalState) -> None:
    orphan = by_name(supervisor.up(instance, only=("store",)))["store"].pid
    assert orphan
    keeper_pid = int((instance.run_dir / "supervisord.pid").read_text())
    os.kill(keeper_pid, signal.SIGKILL)
    assert processes.wait_gone(processes.tree(keeper_pid)[:1], seconds=5)
    assert not keeper.is_running(instance)
    store = by_name(supervisor.up(instance, only=("store",)))["store"]
    assert store.healthy
    assert store.pid != orphan


def test_a_part_that_cannot_start_is_named_with_its_log(instance: LocalState) -> None:
    # what a crash of the disk would leave
    supervisor.up(instance, only=("store",))
    supervisor.down(instance)
    (instance.path / "swift" / "devices" / "d1").rename(instance.path / "swift" / "moved")
    (instance.path / "swift" / "devices" / "d1").write_text("")
    with pytest.raises(TestyardError) as caught:
        supervisor.up(instance, only=("store",))
    assert "store does not start" in caught.value.brief
    assert "cannot be made" in caught.value.details
    assert "testyard local logs store" in caught.value.resolution


def test_no_secret_and_nothing_of_the_caller_in_arguments_and_environment(
    instance: LocalState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORKER__SLOTS", "INDEX__SWEEP_INTERVAL", "TOPOLOGY__RELEASES", "STATE", "BROKER__URL"):
        monkeypatch.setenv(f"TESTYARD_{name}", "of the caller")
    supervisor.up(instance, only=SERVERS)
    family = processes.leftovers(instance)
    assert len(family) > 4
    for process in family:
        environment = process.environ()
        words = " ".join([*process.cmdline(), *environment.values()])
        assert not any(secret in words for secret in instance.secrets.values())
        ours = {name for name in environment if name.startswith("TESTYARD_")}
        assert processes.MARK in ours <= {"TESTYARD_CONFIG", processes.MARK}  # epmd gets little
