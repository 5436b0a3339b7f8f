"""What the probe says of migrations, held against Flyway's own command line at every turn of a schema's life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

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


class Flyway:
    """The command line, with scripts of its own for one schema.

    Args:
        server: Where the schema is.
        scripts: Folder of its scripts.
    """

    def __init__(self, server: PostgresServer, scripts: Path) -> None:
        self._server = server
        self._scripts = scripts

    def write(self, name: str, sql: str, *, alone: bool = False) -> None:
        """Write a script, which runs outside of a transaction if it is to be alone."""
        (self._scripts / f"{name}.sql").write_text(sql.format(name.lower()))
        if alone:
            (self._scripts / f"{name}.sql.conf").write_text("executeInTransaction=false\n")

    def remove(self, name: str) -> None:
        for path in self._scripts.glob(f"{name}.sql*"):
            path.unlink()

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
    assert versions == ({info["schemaVersion"]} if info["schemaVersion"] else set())
    return states(info)


async def test_a_schema_is_told_as_flyway_tells_it(
    tool: Flyway, own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async def after(*arguments: str) -> Sequence[tuple[str, str]]:
        return await hold(tool, own_postgres, shared, (await tool.run(*arguments, "info"))["info"])

    tool.write("V1__a", GOOD)
    tool.write("V2__b", GOOD)
    assert await after("migrate") == [("1", "Success"), ("2", "Success")]
    tool.write("V4__d", GOOD)
    assert ("4", "Pending") in await after()
    await tool.run("migrate")
    tool.write("V3__c", GOOD)
    assert ("3", "Ignored") in await after()
    assert ("3", "Out of Order") in await after("migrate", "-outOfOrder=true")

    tool.write("V5__rolled_back", BROKEN)
    assert not (await tool.run("migrate", "-outOfOrder=true"))["migrate"]["success"]
    assert ("5", "Pending") in await after()  # nothing is left of it
    tool.write("V5__rolled_back", BROKEN, alone=True)
    assert not (await tool.run("migrate", "-outOfOrder=true"))["migrate"]["success"]
    assert ("5", "Failed") in await after()
    repaired = (await tool.run("repair"))["repair"]
    assert [each["version"] for each in repaired["migrationsRemoved"]] == ["5"]  # what it mends is what had failed
    assert ("5", "Pending") in await after()
    tool.remove("V5__rolled_back")

    tool.write("R__views", GOOD)
    assert ("", "Pending") in await after()
    assert ("", "Success") in await after("migrate", "-outOfOrder=true")
    tool.write("R__views", "SELECT 1")
    changed = await after()
    assert {state for version, state in changed if not version} == {"Outdated", "Pending"}  # by the script: not in the table
    again = await after("migrate", "-outOfOrder=true")
    assert {state for version, state in again if not version} == {"Superseded", "Success"}

    tool.write("V1__a", "SELECT 2")
    validated = (await tool.run("validate", "-outOfOrder=true"))["validate"]
    assert [each["errorDetails"]["errorCode"] for each in validated["invalidMigrations"]] == ["CHECKSUM_MISMATCH"]
    assert ("1", "Success") in await after()  # `info` does not tell it either
    await tool.run("repair")

    tool.remove("V4__d")
    assert ("4", "Future") in await after()
    tool.write("V6__f", GOOD)
    assert ("4", "Missing") in await after()
    assert ("4", "Deleted") in await after("repair")


async def test_a_schema_that_began_with_a_baseline_is_told_as_flyway_tells_it(
    tool: Flyway, own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.before (n int)")
    for name in ("V1__a", "V2__b", "V3__c"):
        tool.write(name, GOOD)
    info = (await tool.run("baseline", "-baselineVersion=2", "info"))["info"]
    found = await hold(tool, own_postgres, shared, info)
    assert [state for version, state in found if version == "3"] == ["Pending"]
    assert "Baseline" in {state for _, state in found}
    info = (await tool.run("migrate", "info"))["info"]
    assert ("3", "Success") in await hold(tool, own_postgres, shared, info)


@pytest.fixture(scope="session")
def flyway_tool() -> None:
    """Flyway's command line, by Maven."""
    require_jvm()
    compiled()
