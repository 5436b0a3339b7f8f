"""The matrix: every fault that is tried, and what a person on call is owed for it. A new fault is one entry more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.demo.servers.base import Server
from exporter.demo.servers.springboot import SERVICES as DEMO_SERVICES
from tests.e2e.cluster_rows import CLUSTER
from tests.e2e.database_rows import BROKERS, DATABASES
from tests.e2e.exporter_rows import EXPORTER
from tests.e2e.kafka_rows import KAFKA
from tests.e2e.row import Owed, Row, Step
from tests.e2e.scene import (
    act,
    begin,
    cut,
    end,
    flap,
    forget,
    mark,
    on,
    paged,
    reloaded,
    remember,
    resolved,
    silence,
    stay,
    usual,
)
from tests.e2e.stack import Stack
from tests.e2e.valkey_rows import VALKEYS

__all__ = ["ROWS"]

GATEWAY = frozenset({"gateway"})
REFUSED = "connect.refused"
SCRAPES_LOST = 120.0
"""Seconds to the page of an exporter that is gone: scrapes may be lost for a minute."""


def exporter(stack: Stack) -> Server:
    """Return the exporter."""
    return stack.fleet.exporter


def prometheus(stack: Stack) -> Server:
    """Return Prometheus."""
    return stack.prometheus


def alertmanager(stack: Stack) -> Server:
    """Return Alertmanager."""
    return stack.alertmanager


async def renew_unloaded(stack: Stack) -> None:
    """Put a new certificate where the gateway reads it at its start."""
    await stack.fleet.gateway.issue(90)


async def reload_gateway(stack: Stack) -> None:
    """Let the gateway load it."""
    await stack.fleet.gateway.reload()


async def mend_link(stack: Stack) -> None:
    """Let Prometheus reach the exporter again."""
    await stack.link.open()


def _down(incident: str, cause: str, *, title: str = "", **more: object) -> Owed:
    """Build what is owed for something that is down."""
    return Owed("ServiceDown", incident, title or rf"^{incident} is down", cause, **more)  # type: ignore[arg-type] # Owed's own


def _dependency(name: str, kill: str, hang: str, *, takes: int = 0) -> Sequence[Row]:
    """Build the rows of a dependency: killed, and hung."""
    with_it = rf"^{name} is down: {takes} services with it" if takes else rf"^{name} is down"
    parts = frozenset() if takes else frozenset({name})
    lasts = 150 if takes else 45
    return (
        Row(
            kill,
            f"{name} killed",
            usual(kill, lasts),
            [_down(name, REFUSED, title=with_it)],
            quick=name == "postgres",
            patience=300,
            parts=parts,
        ),
        Row(hang, f"{name} hung", usual(hang, lasts), [_down(name, "timeout", title=with_it)], patience=300, parts=parts),
    )


def _service(name: str, fault: str, cause: str, *, lasts: float = 45.0) -> Row:
    """Build the row of a service that is down."""
    return Row(name, fault, usual(name, lasts), [_down("{0}", cause)], services=1, quick=True)


def _warning(name: str, fault: str, owed: Owed, **more: object) -> Row:
    """Build the row of something that is not well, a service where it names one, and that nobody is woken for."""
    settings: dict[str, object] = {"services": int("{0}" in fault), "patience": 900, **more}
    return Row(name, fault, usual(name, 30), [replace(owed, low=True)], **settings)  # type: ignore[arg-type] # Row's own


def _exporter_down(since: str) -> Owed:
    """Build what is owed for an exporter that is gone while something is broken."""
    return Owed("ExporterDown", "hafnium-exporter", within=SCRAPES_LOST, since=since, while_broken=())


def _while_down(*steps: Step) -> Sequence[Step]:
    """Do something to those that watch while the first service is down."""
    return (begin("service-down"), *steps, end("service-down"), resolved())


def _slow(name: str, fault: str) -> Row:
    """Build the row of a dependency so slow that all services are: low urgency, and each says what it waits for."""
    slow = [Owed("HighLatencyP99", service, f"{service} is slow", name, 480, low=True) for service in DEMO_SERVICES]
    story = (begin(fault), paged(), stay(60), end(fault), resolved(), stay(60))
    return Row(fault, f"{name} starved of CPU: much of what it is asked takes 0.7 s", story, slow, patience=600)


DEPENDENCIES = (
    *_dependency("postgres", "db-down", "db-hung", takes=8),
    *_dependency("redis", "redis-down", "redis-hung", takes=8),
    Row(
        "redis-unsaved",
        "redis cannot save to its disk, and refuses writes for it",
        usual("redis-unsaved", 150),
        [_down("redis", "save.failing", title=r"^redis is down: 8 services with it")],
        patience=300,
    ),
    _warning(
        "redis-full",
        "redis has no memory left and evicts nothing: it refuses writes",
        Owed("RedisWritesRefused", "redis", "redis", "noeviction", 400),
        may=frozenset({"RedisMemoryHigh", "RedisHitRateLow"}),
        alone=True,
    ),
    _warning(
        "redis-snapshots",
        "redis cannot save to its disk, and is told to take writes all the same",
        Owed("RedisSaveFailing", "redis", "cannot save .* rdb_save fails", "", 60 + 60 + 75),
        parts=frozenset({"redis"}),
        patience=240,
    ),
    _warning(
        "redis-crowded",
        "most of the clients that redis takes are connected, and idle",
        Owed("RedisClientsHigh", "redis", "runs out of connections", "Refused within 15m", 300 + 30 + 75),
        parts=frozenset({"redis"}),
        patience=400,
    ),
    *_dependency("kafka", "kafka-down", "kafka-hung", takes=8),
    *_dependency("keycloak", "keycloak-down", "keycloak-hung"),
    _slow("postgres", "db-slow"),
    _slow("redis", "redis-slow"),
    Row(
        "kafka-slow",
        "kafka starved of CPU: consumers keep up",
        (begin("kafka-slow"), stay(300), end("kafka-slow"), stay(60)),
    ),
    Row(
        "keycloak-slow",
        "keycloak starved of CPU: it answers in time",
        (begin("keycloak-slow"), stay(300), end("keycloak-slow"), stay(60)),
        parts=frozenset({"keycloak"}),
    ),
)

SERVICES = (
    _service("service-down", "{0}: its port is closed", REFUSED),
    _service("service-hung", "{0}: takes connections, answers nothing", "timeout"),
    _service("component-down", "{0}: a component of its own is DOWN", "sanctionsList"),
    _service("not-ready", "{0}: refuses traffic", "readiness"),
    _service("login-page", "{0}: a login page answers in its place", "not.(health|json|actuator)|malformed|login|content"),
    _service("proxy-503", "{0}: a proxy answers 503 in its place", "http.status|503"),
    _service(
        "pool-exhausted", "{0}: every connection of its pool is held, the database is well", "pool.exhausted", lasts=150
    ),
)

WARNINGS = (
    _warning("service-slow", "{0}: every answer takes 0.7 s longer", Owed("HighLatencyP99", "{0}", "{0}", within=450)),
    _warning("heap-full", "{0}: its heap is 97 % full", Owed("MemoryPressure", "{0}", "{0}", "collection|GC", 450)),
    Row(
        "errors-5xx",
        "{0}: half of its requests fail",
        usual("errors-5xx", 30),
        [Owed("ErrorBudgetBurn", "{0}", "{0} fails its users", "", 300)],
        services=1,
        patience=2400,
        may=frozenset({"HighErrorRate", "ErrorBudgetBurnSlow"}),
        spoils=True,
    ),
    _warning(
        "consumer-stopped",
        "{0}: its consumer stopped, producers go on",
        Owed("KafkaLagHigh", "kafka", "{0}-service", "consumers.gone|members", 600),
        may=frozenset({"ConsumersGone"}),
    ),
    _warning(
        "consumer-stuck",
        "{0}: its consumer tries one record again and again, producers go on",
        Owed("KafkaLagHigh", "kafka", "{0}-service", "consumers.hang", 750),
        may=frozenset({"ConsumersStuck"}),
    ),
    _warning(
        "consumer-poisoned",
        "{0}: its consumer tries one partition's record again and again, and reads the others",
        Owed("ConsumersStuck", "kafka", "{0}-service", "poison.message", 300 + 60 + 90),
        may=frozenset({"KafkaLagHigh"}),
    ),
    _warning(
        "last-unread",
        "{0}: its topic falls quiet, and its consumer never handles the last records",
        Owed("KafkaLagOld", "kafka", "{0}-service .* behind on hafnium.{0}.events", "slow.consumer", 1300),
    ),
    _warning(
        "dlq-growing",
        "{0}: records end in its dead-letter topic",
        Owed("DeadLettersGrowing", "kafka", "{0}", "", 600),
        patience=1500,
        spoils=True,
    ),
    _warning(
        "idle-transactions",
        "{0}: forgets to commit",
        Owed("DatabaseTransactionOpen", "postgres", "postgres|transaction", "", 600),
        patience=600,
        may=frozenset({"ConnectionPoolExhausted"}),
    ),
    _warning(
        "lock-held",
        "{0}: a session keeps a lock that another waits for",
        Owed("DatabaseLockWait", "postgres", "postgres", "{0}-service.*idle in transaction", 240),
        patience=600,
        may=frozenset({"ConnectionPoolExhausted", "DatabaseTransactionOpen"}),
    ),
    _warning(
        "slot-left",
        "a replication slot of postgres has no reader any more",
        Owed("DatabaseSlotInactive", "postgres", "left_behind", "", 780),
        parts=frozenset({"slots"}),
    ),
    _warning(
        "migration-stuck",
        "{0}: a migration hangs under Flyway's lock",
        Owed("MigrationStuck", "migrations", "migration", "{0}-service.*idle in transaction", 600),
        may=frozenset({"DatabaseTransactionOpen"}),
    ),
    _warning(
        "database-newer",
        "{0}: its schema has a migration above the version that is expected",
        Owed("MigrationFuture", "migrations", "newer", "", 780),
    ),
)

CERTIFICATES = (
    Row(
        "gateway-down",
        "the public gateway's port is closed",
        usual("gateway-down"),
        [_down("gateway", REFUSED)],
        parts=GATEWAY,
    ),
    _warning(
        "certificate-expiring",
        "the gateway's certificate ends in 3 days",
        Owed("CertificateExpiring", "gateway", "gateway", "", 450),
        patience=400,
        parts=GATEWAY,
    ),
    Row(
        "certificate-expired",
        "the gateway's certificate has expired",
        usual("certificate-expired", 30),
        [_down("gateway", "expired"), Owed("CertificateExpired", "gateway", "expired", "", 180, low=True)],
        patience=400,
        may=frozenset({"CertificateExpiring"}),
        parts=GATEWAY,
    ),
    Row(
        "certificate-not-loaded",
        "the gateway's certificate was renewed on disk, and is not loaded",
        (
            begin("certificate-expiring"),
            act(renew_unloaded),
            paged(),
            stay(60),
            act(reload_gateway),
            end("certificate-expiring"),
            resolved(),
        ),
        [Owed("CertificateExpiring", "gateway", "gateway", "", 450, low=True)],
        patience=400,
        parts=GATEWAY,
    ),
)

TOGETHER = (
    Row(
        "two-at-once",
        "{0} killed and {1} hung at once",
        (
            begin("service-down", 0),
            begin("service-hung", 1),
            paged(),
            stay(45),
            end("service-down", 0),
            end("service-hung", 1),
            resolved(),
        ),
        [_down("{0}", REFUSED, while_broken=("service-down",)), _down("{1}", "timeout", while_broken=("service-hung",))],
        services=2,
    ),
    Row(
        "two-dependencies",
        "postgres and redis killed at once",
        (begin("db-down"), begin("redis-down"), paged(), stay(120), end("db-down"), end("redis-down"), resolved()),
        [_down("postgres", REFUSED), _down("redis", REFUSED)],
        patience=300,
    ),
    Row(
        "twice",
        "{0} killed, mended, and killed again",
        (*usual("service-down"), stay(30), begin("service-down"), paged(2), stay(30), end("service-down"), resolved()),
        [_down("{0}", REFUSED, times=(2, 2))],
        services=1,
        may=frozenset({"ServiceFlapping"}),
    ),
    Row(
        "fault-within",
        "postgres killed, {0} killed meanwhile; postgres comes back, {0} does not",
        (
            begin("db-down"),
            stay(100),
            begin("service-down"),
            stay(60),
            end("db-down"),
            mark("root mended"),
            paged(),
            stay(60),
            end("service-down"),
            resolved(),
        ),
        [
            Owed("ServiceDown", "postgres", "", REFUSED, while_broken=("db-down",)),
            _down("{0}", REFUSED, within=180, since="root mended", while_broken=("service-down",)),
        ],
        services=1,
        alone=True,
        patience=300,
    ),
    Row(
        "silenced",
        "{0} killed while it is silenced for 3 minutes",
        (
            silence(180),
            begin("service-down"),
            stay(180),
            mark("silence over"),
            paged(),
            stay(45),
            end("service-down"),
            resolved(),
        ),
        [_down("{0}", REFUSED, since="silence over")],
        services=1,
    ),
    Row(
        "flapping",
        "{0}: down 20 s of every 60 s, 15 times",
        (*flap("service-down", 20, 40, 15), resolved()),
        [
            Owed("ServiceFlapping", "{0}", "{0}", "", 900, low=True, while_broken=()),
            Owed("ServiceDown", "{0}", "{0}", times=(0, 1), within=900, while_broken=()),
        ],
        services=1,
        patience=1500,
    ),
    Row(
        "night",
        "one in a hundred answers about every service's health is wrong, all night: 8 h in 32 minutes",
        (*(begin("flaky", n) for n in range(8)), stay(8 * 3600), *(end("flaky", n) for n in range(8)), stay(300)),
        services=8,
        alone=True,
        hurry=15,
    ),
)

WATCHERS = (
    Row(
        "web-config-broken",
        "the exporter's web configuration file is written halfway, and whole after some minutes",
        (
            mark("written"),
            on(exporter, "spoil_web_config"),
            paged(),
            stay(20),
            on(exporter, "mend_web_config"),
            resolved(),
            stay(30),
        ),
        [Owed("ExporterWebConfigRejected", "hafnium-exporter", "web configuration", "", 300, low=True, since="written")],
    ),
    Row(
        "history-unwritten",
        "the place of the exporter's history is gone, and there again after some minutes",
        (
            on(exporter, "lose_history"),
            reloaded(),
            mark("lost"),
            paged(),
            stay(20),
            on(exporter, "keep_history"),
            resolved(),
            stay(30),
        ),
        [Owed("ExporterHistoryNotKept", "hafnium-exporter", "write its history", "", 600, low=True, since="lost")],
    ),
    Row(
        "exporter-killed",
        "exporter killed, and started after 3 minutes",
        (mark("killed"), on(exporter, "kill"), paged(), stay(100), on(exporter, "start"), resolved(), stay(60)),
        [Owed("ExporterDown", "hafnium-exporter", "", "", 120, since="killed")],
    ),
    Row(
        "exporter-killed-meanwhile",
        "exporter killed for 3 minutes while {0} is down",
        _while_down(stay(90), mark("killed"), on(exporter, "kill"), stay(180), on(exporter, "start"), stay(120)),
        [_down("{0}", REFUSED), _exporter_down("killed")],
        services=1,
        alone=True,
    ),
    Row(
        "exporter-frozen",
        "exporter frozen (SIGSTOP) for 160 s while {0} is down",
        _while_down(
            paged(),
            stay(20),
            mark("frozen"),
            on(exporter, "pause"),
            stay(160),
            on(exporter, "resume"),
            stay(150),
        ),
        [_down("{0}", REFUSED), _exporter_down("frozen")],
        services=1,
        alone=True,
        quick=True,
    ),
    Row(
        "exporter-restarted",
        "exporter restarted while {0} and postgres are down",
        (
            begin("db-down"),
            begin("service-down"),
            stay(100),
            on(exporter, "stop"),
            on(exporter, "start"),
            stay(150),
            end("db-down"),
            end("service-down"),
            resolved(),
        ),
        [
            _down("postgres", REFUSED, while_broken=("db-down",)),
            Owed("ServiceDown", "{0}", times=(0, 1), while_broken=("service-down",)),
        ],
        services=1,
        alone=True,
        patience=300,
    ),
    Row(
        "scrape-lost",
        "Prometheus cannot reach the exporter for 3 minutes while {0} is down",
        _while_down(stay(90), mark("cut"), cut(), stay(180), act(mend_link), stay(120)),
        [_down("{0}", REFUSED), _exporter_down("cut")],
        services=1,
        alone=True,
    ),
    Row(
        "prometheus-emptied",
        "Prometheus killed and started with an empty disk while {0} is down",
        _while_down(
            stay(90),
            on(prometheus, "kill"),
            act(lambda stack: stack.prometheus.wipe()),
            on(prometheus, "start"),
            stay(180),
        ),
        [_down("{0}", REFUSED)],
        services=1,
        alone=True,
    ),
    Row(
        "alertmanager-restarted",
        "Alertmanager killed and started between page and resolve of {0}",
        _while_down(paged(), stay(20), on(alertmanager, "kill"), stay(20), on(alertmanager, "start"), stay(100)),
        [_down("{0}", REFUSED)],
        services=1,
        alone=True,
    ),
    Row(
        "service-removed",
        "{0} killed, and taken out of the configuration while it is down",
        (
            begin("service-down"),
            paged(),
            stay(45),
            forget(),
            mark("removed"),
            resolved(),
            end("service-down"),
            remember(),
            stay(60),
        ),
        [_down("{0}", REFUSED, while_broken=())],
        services=1,
        alone=True,
        quick=True,
    ),
)

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        *DEPENDENCIES,
        *SERVICES,
        *WARNINGS,
        *CERTIFICATES,
        *TOGETHER,
        *WATCHERS,
        *EXPORTER,
        *KAFKA,
        *CLUSTER,
        *VALKEYS,
        *DATABASES,
        *BROKERS,
    )
}
"""Every row by its name."""
