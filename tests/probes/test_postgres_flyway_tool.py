"""What the probe says of migrations, held against Flyway's own command line at every turn of a schema's life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.postgres.flyway import numbers_of
from exporter.databases import flyway as f
from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import SharedClients
from tests.fixtures.jvm import compiled, java, require_jvm
from tests.probes.databases import probe_of, superuser
from tests.probes.doing import attempt

SCHEMA = "svc"
APPLIED = {"Success", "Out of Order", "Future", "Missing", "Outdated", "Baseline"}
"""States of `flyway info` of what is in the database, and counts."""

NOT_APPLIED = {"Pending", "Ignored", "Failed"}
"""States of what a program has, and the database has not, or not whole."""

FAMILIES = (
    f.FLYWAY_MIGRATIONS,
    f.FLYWAY_REPEATABLE,
    f.FLYWAY_FAILED,
    f.FLYWAY_OUT_OF_ORDER,
    f.FLYWAY_PENDING,
    f.FLYWAY_FUTURE,
)

GOOD = "CREATE TABLE {0} (n int)"
BROKEN = "CREATE TABLE {0} (n int); SELECT 1/0"
BROKEN_ALONE = "VACUUM {0}"
"""Of a table that there is not, and outside of transactions: nothing takes back that it was tried."""

OWN_LOCK = "-postgresql.transactional.lock=false"
"""Without it the lock is a transaction's, and with that ends the row that says what failed."""


class Flyway:
    """The command line, with scripts of its own for one schema.

    Args:
        server: Where the schema is.
        scripts: Folder of its scripts.
    """

    def __init__(self, server: PostgresServer, scripts: Path) -> None:
        self._server = server
        self._scripts = scripts

    def write(self, name: str, sql: str = GOOD) -> None:
        """Write a script."""
        (self._scripts / f"{name}.sql").write_text(sql.format(name.lower()))

    def remove(self, name: str) -> None:
        """Remove one."""
        (self._scripts / f"{name}.sql").unlink()

    @property
    def versions(self) -> list[str]:
        """The versions that it has scripts of."""
        return [path.name[1:].partition("__")[0] for path in self._scripts.glob("V*.sql")]

    async def run(self, *arguments: str) -> Mapping[str, Any]:
        """Run commands; return what each says, by its name, or the `error` of the one that failed."""
        server = self._server
        options = (
            f"-url=jdbc:postgresql://{server.host}:{server.port}/{server.database}", "-user=postgres", f"-schemas={SCHEMA}",
            f"-locations=filesystem:{self._scripts}", "-outputType=json", "-connectRetries=0",
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *java("flyway", "org.flywaydb.commandline.Main", *options, *arguments),
            env={"PATH": "/usr/bin:/bin", "FLYWAY_PASSWORD": server.superuser_password, "HOME": str(self._scripts)},
            cwd=self._scripts, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert out, err.decode()
        said = json.loads(out)
        results = said.get("individualResults", [said])
        return {result.get("operation", "error"): result for result in results}


def states(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return version and state of each line of `flyway info`; that it made the schema is no migration."""
    return [(line["version"], line["state"]) for line in info["migrations"] if line["type"] != "SCHEMA"]


def figures(info: Mapping[str, Any]) -> Mapping[str, float]:
    """Return what the probe must say by what `flyway info` says."""
    lines = states(info)
    applied = [version for version, state in lines if state in APPLIED]
    return {
        f.FLYWAY_MIGRATIONS.name: len(applied),
        f.FLYWAY_REPEATABLE.name: applied.count(""),
        f.FLYWAY_FAILED.name: sum(state == "Failed" for _, state in lines),
        f.FLYWAY_OUT_OF_ORDER.name: sum(state == "Out of Order" for _, state in lines),
        f.FLYWAY_PENDING.name: sum(state in NOT_APPLIED for version, state in lines if version),
        f.FLYWAY_FUTURE.name: sum(state == "Future" for _, state in lines),
    }


@pytest.fixture
def tool(own_postgres: PostgresServer, tmp_path: Path, flyway_tool: None) -> Flyway:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    return Flyway(own_postgres, scripts)


async def hold(
    tool: Flyway, server: PostgresServer, shared: SharedClients, info: Mapping[str, Any]
) -> Sequence[tuple[str, str]]:
    """Hold the probe's figures against what `flyway info` says; return what that is."""
    async with superuser(server) as admin:
        await admin.execute(
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO hafnium; GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO hafnium"
        )
    outcome = await attempt(probe_of(server, shared, flyway_expected={SCHEMA: tool.versions}))
    told = {family.name: outcome.samples[family][SCHEMA,] for family in FAMILIES}
    assert told == figures(info), states(info)
    versions = {labels[1] for labels in outcome.samples.get(f.FLYWAY_VERSION, {})}
    applied = [
        version for version, state in states(info) if version and state in APPLIED
    ]  # not one that failed, as Flyway has
    assert versions == {max(applied, key=numbers_of)}
    return states(info)


After = Callable[..., Awaitable[Sequence[tuple[str, str]]]]


@pytest.fixture
def after(tool: Flyway, own_postgres: PostgresServer, shared: SharedClients) -> After:
    """Run commands, hold what comes of it against the probe, and return what `flyway info` says of it."""

    async def run(*arguments: str) -> Sequence[tuple[str, str]]:
        return await hold(tool, own_postgres, shared, (await tool.run(*arguments, "info"))["info"])

    return run


async def test_what_is_applied_pending_and_out_of_order(tool: Flyway, after: After) -> None:
    tool.write("V1__a")
    tool.write("V3__c")
    assert await after("migrate") == [("1", "Success"), ("3", "Success")]
    tool.write("V2__b")
    tool.write("V4__d")
    found = await after()
    assert ("2", "Ignored") in found
    assert ("4", "Pending") in found
    assert ("2", "Out of Order") in await after("migrate", "-outOfOrder=true")


async def test_what_failed_and_what_repair_mends(tool: Flyway, after: After) -> None:
    tool.write("V1__a")
    await tool.run("migrate")
    tool.write("V2__b", BROKEN)
    assert not (await tool.run("migrate"))["migrate"]["success"]
    assert ("2", "Pending") in await after()  # nothing is left of it
    tool.write("V2__b", BROKEN_ALONE)
    assert not (await tool.run("migrate", OWN_LOCK))["migrate"]["success"]
    assert ("2", "Failed") in await after()
    repaired = (await tool.run("repair"))["repair"]
    assert [each["version"] for each in repaired["migrationsRemoved"]] == ["2"]
    assert ("2", "Pending") in await after()


async def test_what_only_the_scripts_tell_changes_nothing(tool: Flyway, after: After) -> None:
    """A repeatable migration that has changed, and a checksum that does not match: neither is in the table."""
    tool.write("V1__a")
    tool.write("R__views")
    assert ("", "Success") in await after("migrate")
    tool.write("R__views", "SELECT 1")
    assert {state for version, state in await after() if not version} == {"Outdated", "Pending"}
    assert {state for version, state in await after("migrate") if not version} == {"Superseded", "Success"}
    tool.write("V1__a", "SELECT 2")
    (validated,) = (await tool.run("validate"))["validate"]["invalidMigrations"]
    assert validated["errorDetails"]["errorCode"] == "CHECKSUM_MISMATCH"
    assert ("1", "Success") in await after()


async def test_what_a_program_does_not_know(tool: Flyway, after: After) -> None:
    tool.write("V1__a")
    tool.write("V2__b")
    await tool.run("migrate")
    tool.remove("V2__b")
    assert ("2", "Future") in await after()
    tool.write("V3__c")
    assert ("2", "Missing") in await after()
    assert ("2", "Deleted") in await after("repair")


async def test_what_came_before_a_baseline(tool: Flyway, own_postgres: PostgresServer, after: After) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.before (n int)")
    for name in ("V1__a", "V2__b", "V3__c"):
        tool.write(name)
    found = await after("baseline", "-baselineVersion=2")
    assert ("3", "Pending") in found
    assert "Baseline" in {state for _, state in found}
    assert ("3", "Success") in await after("migrate")


@pytest.fixture(scope="session")
def flyway_tool() -> None:
    """Flyway's command line, by Maven."""
    require_jvm()
    compiled()
