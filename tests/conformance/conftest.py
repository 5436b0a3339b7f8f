"""The applications that the tests of this folder hold to their word, and what they find, for docs/spring-boot.md.

The applications and Apache Kafka end with the last of these tests: they work all the time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.valkey import ValkeyServer
from tests.conformance.table import ABSENT, TESTED
from tests.fixtures.boot_applications import VERSIONS, ApacheKafka, BootApplications, SecuredApplications
from tests.fixtures.jvm import require_jvm
from tests.fixtures.keycloak import KeycloakServer
from tests.fixtures.springboot import SpringFleet, spring

CELLS = pytest.StashKey[dict[tuple[str, str], str]]()
ABSENCE = pytest.StashKey[bool]()


class Cell:
    """What the running test says of its cell in the table."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def absent(self) -> None:
        """Say that the version does not have the feature, and that the test has seen this."""
        self._item.stash[ABSENCE] = True


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Cell:
    """The running test's cell."""
    return Cell(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how a test of a feature came out; one that fails in its setup or at its end counts as failed."""
    report = yield
    marker = item.get_closest_marker("feature")
    if marker is not None and (call.when == "call" or report.failed):
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        column = str(parameters.get("boot") or parameters.get("subject") or marker.kwargs["version"])
        good = ABSENT if item.stash.get(ABSENCE, False) else TESTED
        cells = item.config.stash.setdefault(CELLS, {})
        cells[marker.args[0], column] = good if report.passed else "fails"
    return report


@pytest.fixture(scope="package")
def secured(tmp_path_factory: pytest.TempPathFactory, keycloak: KeycloakServer) -> Iterator[SecuredApplications]:
    """The applications that want credentials."""
    issuer = f"http://{keycloak.address}{keycloak.issuer_path}"
    with SecuredApplications(tmp_path_factory.mktemp("secured"), issuer) as applications:
        yield applications


@pytest.fixture(scope="package")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Apache Kafka, shared."""
    require_jvm()
    with ApacheKafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="package")
def boot_fleet(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    apache_kafka: ApacheKafka,
) -> Iterator[dict[str, BootApplications]]:
    """The applications of every version, started side by side."""
    require_jvm()
    stores = (postgres_server, valkey_server, apache_kafka)
    fleet = {version: BootApplications(tmp_path_factory.mktemp("boot"), version, stores=stores) for version in VERSIONS}
    try:
        for applications in fleet.values():
            applications.launch()
        for applications in fleet.values():
            applications.await_ready()
        yield fleet
    finally:
        for applications in fleet.values():
            applications.stop()


@pytest.fixture(params=VERSIONS, ids=lambda version: f"boot-{version}")
def boot(request: pytest.FixtureRequest, boot_fleet: dict[str, BootApplications]) -> BootApplications:
    """The applications of one version after the other."""
    version: str = request.param
    return boot_fleet[version]


@pytest.fixture(scope="package")
def spring_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpringFleet]:
    """The simulated services, for themselves here: nothing of another folder's tests is left in them."""
    with spring(tmp_path_factory.mktemp("spring-fleet")) as fleet:
        yield fleet
