"""What tests of the postgres probe share: a probe of a server, sessions beside it, Flyway's table."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import Probe, SharedClients
from tests.probes.doing import make

HISTORY = """
CREATE SCHEMA {0};
CREATE TABLE {0}.flyway_schema_history (installed_rank int PRIMARY KEY, version varchar(50), description varchar(200),
  type varchar(20), script varchar(1000), checksum int, installed_by varchar(100),
  installed_on timestamp DEFAULT now(), execution_time int, success boolean);
INSERT INTO {0}.flyway_schema_history (installed_rank, version, description, type, script, success) VALUES {1};
"""


@cache
def _major(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"\d+", said)[0])


def major_of(server: PostgresServer) -> int:
    """Return a server's major version."""
    return _major(server.bin / "postgres")


def probe_of(server: PostgresServer, shared: SharedClients, **settings: Any) -> Probe[Any]:
    """Build a probe of a server."""
    own = {"user": server.user, "password_file": server.password_file, "database": server.database, **settings}
    return make("postgres", shared, server.host, server.port, **own)


async def connect(
    server: PostgresServer, user: str = "postgres", *, application: str = "", database: str = ""
) -> asyncpg.Connection:
    """Open a session, as the superuser or as the role `hafnium`."""
    password = server.superuser_password if user == "postgres" else server.password
    return await asyncpg.connect(
        host=server.host, port=server.port, user=user, password=password, database=database or server.database,
        server_settings={"application_name": application},
    )  # fmt: skip


@asynccontextmanager
async def superuser(server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """Open a session of the superuser."""
    connection = await connect(server)
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def histories(server: PostgresServer, *schemas: str) -> AsyncIterator[None]:
    """Make schemas with a history of one migration that the role `hafnium` may read."""
    async with superuser(server) as admin:
        for schema in schemas:
            await admin.execute(HISTORY.format(schema, "(1,'1','a','SQL','V1',true)"))
            await admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO hafnium")
            await admin.execute(f"GRANT SELECT ON {schema}.flyway_schema_history TO hafnium")
    try:
        yield
    finally:
        async with superuser(server) as admin:
            await admin.execute(f"DROP SCHEMA {', '.join(schemas)} CASCADE")
