"""Who is held to the same expectations: the `full` application of each Boot version, and the demo's simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from exporter.demo.servers.postgres import PostgresServer
from tests.conformance.table import COLUMNS, SIMULATED
from tests.fixtures.boot_applications import Application, BootApplications
from tests.fixtures.springboot import SpringFleet

__all__ = ["Subject"]

SIMULATED_SERVICE = "risk-engine"


@dataclass(frozen=True)
class Subject:
    """An application with stores, and ways to make it misbehave.

    Attributes:
        application: Where it is. The simulated one says of itself that it is Boot 3.5.
        fleet: The simulated services, where it is one of them.
        component: A health component that can be made DOWN.
        complaint: Its error then.
        nested: Components inside of components that it has.
        pool: Name of its Hikari pool.
        postgres: Its database server.
        history: Flyway's table.
        version: Highest migration that it brings.
        before: The migration before that.
    """

    application: Application
    fleet: SpringFleet | None
    component: str
    complaint: str
    nested: frozenset[str]
    pool: str
    postgres: PostgresServer
    history: str
    version: str
    before: str

    @contextmanager
    def component_down(self) -> Iterator[None]:
        """Let the component report DOWN."""
        if self.fleet is None:
            with self.application.switched("component", {"status": "UP"}, status="DOWN"):
                yield
        else:
            with self.fleet.fault(SIMULATED_SERVICE, "component-down"):
                yield

    @contextmanager
    def refusing_traffic(self) -> Iterator[None]:
        """Let its readiness say that it refuses traffic."""
        if self.fleet is None:
            back = {"state": "ACCEPTING_TRAFFIC"}
            with self.application.switched("readiness", back, state="REFUSING_TRAFFIC"):
                yield
        else:
            with self.fleet.fault(SIMULATED_SERVICE, "readiness-down"):
                yield

    @contextmanager
    def pool_exhausted(self) -> Iterator[None]:
        """Hold every connection of its pool."""
        if self.fleet is None:
            with self.application.switched("hold", {"connections": 0}, connections=4):
                yield
        else:
            with self.fleet.fault(SIMULATED_SERVICE, "pool-exhausted"):
                yield

    @contextmanager
    def history_changed(self, change: str) -> Iterator[None]:
        """Change the schema history behind its back, in SQL with {} for the table, and put it back."""
        kept = f"{self.history}_kept"
        self.postgres.sql(f"CREATE TABLE {kept} AS TABLE {self.history}", change.format(self.history))
        try:
            yield
        finally:
            self.postgres.sql(f"TRUNCATE {self.history}", f"INSERT INTO {self.history} TABLE {kept}", f"DROP TABLE {kept}")


@pytest.fixture(params=COLUMNS, ids=lambda column: column if column == SIMULATED else f"boot-{column}")
def subject(request: pytest.FixtureRequest) -> Subject:
    """One application after the other; what the others need is not started for it."""
    if request.param == SIMULATED:
        return _simulated(request.getfixturevalue("spring_fleet"))
    fleet: dict[str, BootApplications] = request.getfixturevalue("boot_fleet")
    return _real(fleet[request.param], request.getfixturevalue("postgres_server"))


def _real(boot: BootApplications, postgres: PostgresServer) -> Subject:
    return Subject(
        application=boot.full,
        fleet=None,
        component="switchable",
        complaint="switched to DOWN",
        nested=frozenset({"outer", "outer/near", "outer/inner", "outer/inner/leaf"}),
        pool="HikariPool-1",
        postgres=postgres,
        history=f"boot_{boot.version.replace('.', '_')}.flyway_schema_history",
        version="2.1",
        before="2",
    )


def _simulated(fleet: SpringFleet) -> Subject:
    port = fleet.ports[SIMULATED_SERVICE]
    return Subject(
        application=Application("3.5", port, port, "/actuator"),
        fleet=fleet,
        component="upstreams/sanctionsList",
        complaint="java.net.SocketTimeoutException: Read timed out",
        nested=frozenset({"upstreams", "upstreams/sanctionsList"}),
        pool="HikariPool-1",
        postgres=fleet.postgres,
        history=f"{SIMULATED_SERVICE.replace('-', '_')}.flyway_schema_history",
        version="3.1",
        before="2",
    )
