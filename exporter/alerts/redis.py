"""Alerts of Redis and Valkey: standalone, replicated, clustered."""

from __future__ import annotations

from functools import partial

from exporter.alerts.model import Alert, Disable, Group, Options, Severity, Team
from exporter.alerts.promql import OWNER, highest, lowest, over, stepping_back
from exporter.alerts.texts import first, listed
from exporter.boards import Board, Panel
from exporter.limits import entries as limits

__all__ = ["groups"]

_alert = partial(Alert, team=Team.DBA, kinds=frozenset({"redis"}))


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (
        Group(
            "redis",
            (
                hit_rate_low(options),
                memory_high(options),
                writes_refused(options),
                clients_high(options),
                save_failing(options),
                replica_disconnected(options),
                replica_lagging(options),
                replica_missing(options),
            ),
        ),
        Group("redis-sentinel", (split_brain(options), master_down(options), quorum_lost(options))),
        Group("redis-cluster", (cluster_degraded(options),)),
    )


_EVICTED = first(
    "max(increase(probe_redis_evicted_keys_total{service=%q,target=%q}[15m]))",
    "$labels.service $labels.target",
    "{{ .Value | humanize }} keys",
    "unknown",
)

_USED = first(
    "max(probe_redis_memory_used_bytes{service=%q,target=%q}) / max(probe_redis_memory_max_bytes{service=%q,target=%q} > 0)",
    "$labels.service $labels.target $labels.service $labels.target",
    "{{ .Value | humanizePercentage }}",
    "without a limit",
)


def hit_rate_low(options: Options) -> Alert:
    """Build RedisHitRateLow."""
    low = over(limits.HIT_RATIO, options)
    return _alert(
        name=limits.HIT_RATIO.alert,
        severity=Severity.WARNING,
        expr=f"{stepping_back(low, options)}\nunless on () max_over_time(probe_incident[15m])",
        wait="5m",
        summary="The cache of {{ $labels.service }} hits seldom: {{ $value | humanizePercentage }} of lookups",
        description=(
            "{{ $value | humanizePercentage }} of the lookups of {{ $labels.service }} at {{ $labels.target }} found their "
            "key within 15m; the rest falls on what is behind the cache."
        ),
        cause="Evicted within 15m: " + _EVICTED + ". Memory in use: " + _USED,
        action=limits.HIT_RATIO.action,
        panel=limits.HIT_RATIO.panel,
        meaning="the share of lookups that found their key is below its threshold over 15 min, of at least 100; not while "
        "anything is down, nor 15 min after",
        comment="""\
While a database is down nothing is put into the cache, and what was in it runs out: the incident's page says more.""",
        disables=(Disable("promql/series(probe_incident)", "there is none while all is up"),),
    )


def memory_high(options: Options) -> Alert:
    """Build RedisMemoryHigh."""
    return _alert(
        name=limits.REDIS_MEMORY_RATIO.alert,
        severity=Severity.WARNING,
        expr=stepping_back(over(limits.REDIS_MEMORY_RATIO, options), options),
        wait="5m",
        summary="{{ $labels.service }} is short of memory: {{ $value | humanizePercentage }} of maxmemory",
        description=(
            "{{ $labels.service }} at {{ $labels.target }} uses {{ $value | humanizePercentage }} of its maxmemory, for 5m. "
            "At the limit it evicts keys, or refuses writes, as its policy says."
        ),
        cause="Evicted within 15m: " + _EVICTED + ". Policy: " + _policy(options),
        action=limits.REDIS_MEMORY_RATIO.action,
        panel=limits.REDIS_MEMORY_RATIO.panel,
        meaning="the share of maxmemory in use is above its threshold for 5 min",
    )


def _policy(options: Options) -> str:
    return first(
        f"group by (policy) (last_over_time(probe_redis_maxmemory_policy{{service=%q,target=%q}}[{options.bridge}]))",
        "$labels.service $labels.target",
        "{{ .Labels.policy }}",
        "unknown",
    )


def writes_refused(options: Options) -> Alert:
    """Build RedisWritesRefused."""
    refused = 'probe_redis_error_replies_total{error=~"OOM|MISCONF|NOREPLICAS|READONLY|CLUSTERDOWN|MASTERDOWN"}'
    grown = f"max by ({OWNER}, target, error) (increase({refused}[{options.recent}]))"
    return _alert(
        name="RedisWritesRefused",
        severity=Severity.WARNING,
        expr=stepping_back(f"{grown} > 0", options),
        wait="2m",
        summary="{{ $labels.service }} refuses what services ask for: {{ $labels.error }}",
        description=(
            "For 2m {{ $labels.service }} at {{ $labels.target }} has answered commands with {{ $labels.error }}, which its "
            "clients cannot help: "
            + first(
                "max(increase(probe_redis_error_replies_total{service=%q,target=%q,error=%q}[5m]))",
                "$labels.service $labels.target $labels.error",
                "{{ .Value | humanize }}",
                "some",
            )
            + " within 5m."
        ),
        cause="Memory in use: " + _USED + ". Policy: " + _policy(options),
        action="OOM: raise maxmemory or let keys go; MISCONF: mend its disk; READONLY: clients write to a replica",
        panel=Panel(Board.REDIS, 243),
        meaning="a server has answered for 2 min with errors that lie with itself: OOM, MISCONF, NOREPLICAS, READONLY, "
        "CLUSTERDOWN, MASTERDOWN; not while the service is down",
        comment="The window is short: one refusal, as in a failover, is none two minutes later.",
        disables=(Disable("promql/series(probe_redis_error_replies_total)", "there is none of a kind before the first"),),
    )


def clients_high(options: Options) -> Alert:
    """Build RedisClientsHigh."""
    return _alert(
        name=limits.REDIS_CLIENTS_RATIO.alert,
        severity=Severity.WARNING,
        expr=stepping_back(over(limits.REDIS_CLIENTS_RATIO, options), options),
        wait="5m",
        summary="{{ $labels.service }} runs out of connections: {{ $value | humanizePercentage }} are taken",
        description=(
            "{{ $value | humanizePercentage }} of the clients that {{ $labels.service }} at {{ $labels.target }} takes are "
            "connected, for 5m. With none left, new ones are refused."
        ),
        cause="Refused within 15m: "
        + first(
            "max(increase(probe_redis_rejected_connections_total{service=%q,target=%q}[15m]))",
            "$labels.service $labels.target",
            "{{ .Value | humanize }}",
            "unknown",
        )
        + ". Waiting in commands that block: "
        + first(
            f"max(last_over_time(probe_redis_blocked_clients{{service=%q,target=%q}}[{options.bridge}]))",
            "$labels.service $labels.target",
            "{{ .Value | humanize }}",
            "unknown",
        ),
        action=limits.REDIS_CLIENTS_RATIO.action,
        panel=limits.REDIS_CLIENTS_RATIO.panel,
        meaning="the share of maxclients that is connected is above its threshold for 5 min",
    )


def save_failing(options: Options) -> Alert:
    """Build RedisSaveFailing."""
    return _alert(
        name="RedisSaveFailing",
        severity=Severity.WARNING,
        expr=stepping_back(
            f"{lowest('probe_redis_persistence_success', options.recent, 'target', 'operation')} == 0", options
        ),
        wait="1m",
        summary="{{ $labels.service }} cannot save its data: {{ $labels.operation }} fails",
        description=(
            "The last {{ $labels.operation }} of {{ $labels.service }} at {{ $labels.target }} failed: what was written "
            "since is lost if it ends. Unless it is told to go on, it refuses writes."
        ),
        action="Free its disk, or mend its folder's rights; its log says which",
        panel=Panel(Board.REDIS, 241),
        meaning="the last snapshot, write or rewrite of the append-only file has failed for 1 min; not while the service is "
        "down",
    )


def replica_disconnected(options: Options) -> Alert:
    """Build RedisReplicaDisconnected."""
    return _alert(
        name="RedisReplicaDisconnected",
        severity=Severity.WARNING,
        expr=stepping_back(f"{lowest('probe_redis_master_link_up', options.recent, 'target')} == 0", options),
        wait="2m",
        summary="{{ $labels.service }} has a replica without its master",
        description=(
            "The replica {{ $labels.target }} of {{ $labels.service }} has not been connected to its master for 2m: what it "
            "serves is old, and a failover to it would lose data."
        ),
        action="Check the network between them and the replica's masterauth; read INFO replication on both",
        panel=Panel(Board.REDIS, 91),
        meaning="a replica has not been connected to its master for 2 min",
        disables=(Disable("promql/series(probe_redis_master_link_up)", "a master has none"),),
    )


def replica_lagging(options: Options) -> Alert:
    """Build RedisReplicaLagging."""
    return _alert(
        name=limits.REDIS_REPLICA_LAG.alert,
        severity=Severity.WARNING,
        expr=stepping_back(over(limits.REDIS_REPLICA_LAG, options), options),
        wait="30s",
        summary="A replica of {{ $labels.service }} lags: nothing heard of it for {{ $value | humanizeDuration }}",
        description=(
            "The master {{ $labels.target }} of {{ $labels.service }} has not heard of its replica {{ $labels.replica }} "
            "for {{ $value | humanizeDuration }}. At repl-timeout, 60s unless set, it gives the replica up."
        ),
        cause="Behind by "
        + first(
            f"max(last_over_time(probe_redis_replica_lag_bytes{{service=%q,target=%q,replica=%q}}[{options.bridge}]))",
            "$labels.service $labels.target $labels.replica",
            "{{ .Value | humanize1024 }}B",
            "an unknown number of bytes",
        ),
        action=limits.REDIS_REPLICA_LAG.action,
        panel=limits.REDIS_REPLICA_LAG.panel,
        meaning="a master has not heard of a connected replica for longer than its threshold",
        disables=(Disable("promql/series(probe_redis_replica_lag_seconds)", "a master without replicas has none"),),
    )


def replica_missing(options: Options) -> Alert:
    """Build RedisReplicaMissing."""
    now = highest("probe_redis_connected_replicas", options.recent, "target")
    most = f"max by ({OWNER}, target) (max_over_time(probe_redis_connected_replicas[1h]))"
    is_master = f'max by (service, target) (last_over_time(probe_redis_role{{role="master"}}[{options.recent}]))'
    most_of_any = f"max by (service) (max_over_time(({now} and on (service, target) {is_master})[1h:1m]))"
    fewer = f"{now} < {most}\nand on (service, target) {is_master}"
    after_failover = (
        f"{now} < on (service) group_left () {most_of_any}\nand on (service, target) {is_master}"
        f"\nand on (service) count by (service) ({is_master}) == 1"
    )
    return _alert(
        name="RedisReplicaMissing",
        severity=Severity.WARNING,
        expr=stepping_back(f"{fewer}\nor\n{after_failover}", options),
        wait="5m",
        summary="{{ $labels.service }} has lost a replica: {{ $value | humanize }} are left",
        description=(
            "The master {{ $labels.target }} of {{ $labels.service }} has had {{ $value | humanize }} replicas for 5m, and "
            "it or the master before it had more within the hour: the next failure may find none to take over."
        ),
        action="Start the replica, or mend its way to the master; if it was taken away, this ends within the hour",
        panel=Panel(Board.REDIS, 91),
        meaning="a master has had fewer replicas for 5 min than within the last hour; where it is the only one, also than "
        "the master before it",
        comment="After a failover, what the old master had counts where one master is left: several need not have as many.",
    )


def _of_sentinels(*families: str) -> tuple[Disable, ...]:
    return tuple(Disable(f"promql/series({family})", "only a Sentinel has it") for family in families)


def split_brain(options: Options) -> Alert:
    """Build RedisSplitBrain."""
    seen = highest("probe_redis_sentinel_masters_seen", options.recent, "master")
    told = f"last_over_time(probe_redis_sentinel_master_address[{options.bridge}])"
    addresses = f"count by ({OWNER}, master) (group by ({OWNER}, master, address) ({told}))"
    return _alert(
        name="RedisSplitBrain",
        severity=Severity.CRITICAL,
        expr=f"{seen} > 1\nor\n{addresses} > 1",
        wait="2m",
        hold="1m",
        summary="{{ $labels.service }} has two masters of {{ $labels.master }}",
        description=(
            "Sentinels of {{ $labels.service }} have seen {{ $value | humanize }} masters of {{ $labels.master }} for 2m. "
            "Both take writes, and what one of them took will be thrown away."
        ),
        cause="Masters by their Sentinels: "
        + listed(
            f"count by (address) (last_over_time(probe_redis_sentinel_master_address{{service=%q,master=%q}}"
            f"[{options.bridge}]))",
            "$labels.service $labels.master",
            "address",
            "{{ .Labels.address }} by {{ .Value | humanize }}",
            otherwise="unknown",
        ),
        action="Find the master that Sentinels' majority has, and REPLICAOF it on the other; keep the other's data first",
        panel=Panel(Board.REDIS, 251),
        meaning="for 2 min a Sentinel reaches two masters of one name, or Sentinels tell clients of different ones",
        comment="A failover shows both for some scrapes. The window is short: the old address is soon forgotten.",
        disables=_of_sentinels("probe_redis_sentinel_masters_seen", "probe_redis_sentinel_master_address"),
    )


def master_down(options: Options) -> Alert:
    """Build RedisMasterDown."""
    return _alert(
        name="RedisMasterDown",
        severity=Severity.WARNING,
        expr=f"{highest('probe_redis_sentinel_master_up', options.recent, 'master')} == 0",
        wait="1m",
        summary="The master {{ $labels.master }} of {{ $labels.service }} is down, and none took over",
        description=(
            "No Sentinel of {{ $labels.service }} has reached the master of {{ $labels.master }} for 1m, and there was no "
            "failover."
        ),
        cause=_sentinels(options),
        action="Bring the master back; SENTINEL CKQUORUM says whether a failover can be, SENTINEL FAILOVER forces one",
        panel=Panel(Board.REDIS, 252),
        meaning="every Sentinel has held a master to be down for 1 min, and none took over",
        disables=_of_sentinels("probe_redis_sentinel_master_up"),
    )


def quorum_lost(options: Options) -> Alert:
    """Build RedisSentinelQuorumLost."""
    return _alert(
        name="RedisSentinelQuorumLost",
        severity=Severity.WARNING,
        expr=f"{highest('probe_redis_sentinel_quorum_ok', options.recent, 'master')} == 0",
        wait="2m",
        summary="The Sentinels of {{ $labels.master }} of {{ $labels.service }} are too few for a failover",
        description=(
            "For 2m no Sentinel of {{ $labels.service }} has reached enough others to fail {{ $labels.master }} over: if "
            "its master ends, none takes over."
        ),
        cause=_sentinels(options),
        action="Start the Sentinels that are gone, or SENTINEL RESET those that still know of ones that were taken away",
        panel=Panel(Board.REDIS, 252),
        meaning="for 2 min no Sentinel reaches enough others for the quorum and the majority that a failover needs",
        disables=_of_sentinels("probe_redis_sentinel_quorum_ok"),
    )


def _sentinels(options: Options) -> str:
    """Say how many Sentinels there are, and replicas that could take over."""

    def most(family: str, state: str) -> str:
        series = f'probe_redis_sentinel_{family}{{service=%q,master=%q,state="{state}"}}'
        return first(
            f"max(last_over_time({series}[{options.bridge}]))",
            "$labels.service $labels.master",
            "{{ .Value | humanize }}",
            "unknown",
        )

    return (
        f"Sentinels: {most('sentinels', 'usable')} usable of {most('sentinels', 'known')}. "
        f"Replicas: {most('replicas', 'ok')} well of {most('replicas', 'known')}"
    )


def cluster_degraded(options: Options) -> Alert:
    """Build RedisClusterDegraded."""
    unserved = "16384 - " + lowest('probe_redis_cluster_slots{state="ok"}', options.recent)
    failed = highest('probe_redis_cluster_failed_nodes{state="fail"}', options.recent)
    refusing = f"{lowest('probe_redis_cluster_ok', options.recent)} == 0"
    return _alert(
        name="RedisClusterDegraded",
        severity=Severity.WARNING,
        expr=stepping_back(f"({unserved}) > 0\nor\n{failed} > 0\nor\n{refusing}", options),
        wait="1m",
        summary="The cluster of {{ $labels.service }} is not whole",
        description=(
            "A node of {{ $labels.service }} has seen for 1m that the cluster is not whole: slots that nobody serves, nodes "
            "that have failed, or itself cut off from the others."
        ),
        cause="Slots not served: "
        + _most('16384 - min(last_over_time(probe_redis_cluster_slots{{service=%q,state="ok"}}[{}]))', options)
        + ". Nodes failed: "
        + _most('max(last_over_time(probe_redis_cluster_failed_nodes{{service=%q,state="fail"}}[{}]))', options)
        + ". Nodes that refuse every key: "
        + _most("count(last_over_time(probe_redis_cluster_ok{{service=%q}}[{}]) == 0)", options, otherwise="none"),
        action="Read CLUSTER NODES, bring failed nodes back or forget them, and have each slot served",
        panel=Panel(Board.REDIS, 240),
        meaning="a node has seen for 1 min that slots of its cluster are not served, that nodes have failed, or that it is "
        "cut off; not while the service is down",
        disables=tuple(
            Disable(f"promql/series({family})", "only nodes of a cluster have it")
            for family in ("probe_redis_cluster_slots", "probe_redis_cluster_failed_nodes", "probe_redis_cluster_ok")
        ),
    )


def _most(query: str, options: Options, otherwise: str = "unknown") -> str:
    """Say the value of a query over a service."""
    return first(query.format(options.bridge), "$labels.service", "{{ .Value | humanize }}", otherwise)
