"""The servers that tests and the demo stand on: they serve, end whole, hang, and come back on the same port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.demo.processes import Child, StartError, _descendants, free_ports
from exporter.demo.servers.base import Server
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.valkey import ValkeyServer


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", [PostgresServer, ValkeyServer, BrokerServer])
def test_a_server_leaves_no_process_and_comes_back_on_its_port(kind: type[Server], tmp_path: Path) -> None:
    server = kind(tmp_path / "data")
    for end in (server.stop, server.kill):
        server.start()
        assert server.ready()
        assert server.child is not None
        assert server.child.pid is not None
        family = [server.child.pid, *_descendants(server.child.pid)]
        end()
        for pid in family:
            wait_until_gone(pid)
        assert not server.ready()


async def test_the_database_is_owned_by_a_plain_role_that_must_log_in(postgres_server: PostgresServer) -> None:
    where = {"host": postgres_server.host, "port": postgres_server.port, "database": postgres_server.database}
    connection = await asyncpg.connect(**where, user=postgres_server.user, password=postgres_server.password)
    assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    await connection.execute("CREATE SCHEMA owned; DROP SCHEMA owned")
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**where, user=postgres_server.user, password="wrong")


async def test_a_paused_server_hangs_and_a_resumed_one_answers(own_valkey: ValkeyServer) -> None:
    client = redis.Redis(host=own_valkey.host, port=own_valkey.port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    assert await client.ping()
    own_valkey.pause()
    with pytest.raises(redis.TimeoutError):
        await client.ping()
    own_valkey.resume()
    assert await client.ping()
    await client.aclose()


def test_a_paused_server_can_be_stopped(own_postgres: PostgresServer) -> None:
    own_postgres.pause()
    own_postgres.stop()
    assert not own_postgres.running


def test_children_die_with_their_parent_even_if_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from exporter.demo.processes import Child\n"
        f"c = Child('sleep', ['sleep', '1000'], Path({str(tmp_path / 'log')!r}), as_nobody=True); c.start()\n"
        "print(c.pid, flush=True); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
        deadline = time.monotonic() + 5
        while b"sleep" not in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
            assert time.monotonic() < deadline
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_until_gone(child)


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    child = Child("shell", ["sh", "-c", "echo no such luck; exit 7"], tmp_path / "log")
    with pytest.raises(StartError, match=r"shell ended with code 7(?s:.)*no such luck"):
        child.start(lambda: False)
    stubborn = Child("sleeper", ["sleep", "1000"], tmp_path / "log2")
    with pytest.raises(StartError, match="sleeper is not ready"):
        stubborn.start(lambda: False, seconds=0.1)
    assert not stubborn.running


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(200))) == 200
