"""The closed list of causes. A cause is one entry here, and the rule that finds it in the file of its symptom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.diagnosis.model import EXPLAIN, Cause, Confidence, Step, Symptom
from exporter.verdict import PROBER_FAULTS, Reason

__all__ = ["CAUSES", "of_reason"]

_START, _LATENCY, _LAG = "service-wont-start", "high-latency", "kafka-consumer-lag"
_DATABASE, _SCALING, _RESTART, _CHECK = "connection-issues", "horizontal-pod-autoscaler", "service-restart", "kubernetes"

_ASK = ("{ask}", "")
_HEALTH = ("{ask}: which component is it?", "Ask for its health: which component is it?")
_PODS = (
    "{kubectl} get pods -n {namespace} -l {selector}",
    "{kubectl} get endpointslices -n {namespace} -l {slices}",
    "{kubectl} get pods -n {namespace}",
    "Look whether its instances run, and since when",
)
_LOGS = (
    "{kubectl} logs -n {namespace} -l {selector} --tail=100",
    "{kubectl} logs -n {namespace} {workload} --tail=100",
    "{kubectl} logs -n {namespace} {balancer} --tail=100",
    "Read its log",
)
_PREVIOUS = (
    "{kubectl} logs -n {namespace} -l {selector} --previous",
    "{kubectl} logs -n {namespace} {workload} --previous",
    "{kubectl} logs -n {namespace} {balancer} --previous",
    "Read the log of the process before",
)
_DESCRIBE = (
    "{kubectl} describe pods -n {namespace} -l {selector}",
    "{kubectl} describe -n {namespace} {workload}",
    "{kubectl} get events -n {namespace}: what befell its pods",
    "Look at how it ended: exit code, limits, health checks",
)
_ROLLOUT = ("{kubectl} rollout status -n {namespace} {workload}", "Look whether a rollout is under way, and moves")
_UNDO = (
    "If it began with a rollout: {kubectl} rollout undo -n {namespace} {workload}",
    "If it began with a new version: go back to the one before",
)
_MORE = (
    "{kubectl} patch hpa -n {namespace} {autoscaler}: a higher maxReplicas, if nodes and database bear it",
    "Raise the most that its autoscaler may have, if nodes and database bear it",
)
_ENDPOINTS = (
    "{kubectl} get endpointslices -n {namespace} -l {slices}",
    "{kubectl} get endpointslices -n {namespace}",
    "Look where its name leads to",
)
_SCALE = ("Scale up replicas: {kubectl} scale -n {namespace} {workload} --replicas=N", "Scale up replicas")
_EVENTS = ("{kubectl} get events -n {namespace}: what the controllers say", "Look at what the controllers say")
_ACTIVITY = "SELECT pid, state, age(now(), query_start), query FROM pg_stat_activity ORDER BY query_start"
_GROUPS = "rpk group describe the group: its members, and which partitions lag"

DEPENDENCY_DOWN = Cause(
    "dependency_down",
    "{dependency} is down, which it needs",
    _START,
    ("Mend {dependency}; what needs it comes back by itself", EXPLAIN),
    (Symptom.DOWN, Symptom.SLOW),
)
DEPENDENCY_UNREACHABLE = Cause(
    "dependency_unreachable",
    "{dependency} answers the exporter, but not {service}: network, credentials or its client",
    _DATABASE,
    (
        "Try from where it runs whether {dependency} can be reached: name, port, network policy",
        "Check the address and the credentials that {service} has: SPRING_DATASOURCE_URL and its like, and the secret's age",
        _LOGS,
    ),
    confidence=Confidence.MEDIUM,
)
POOL_EXHAUSTED = Cause(
    "pool_exhausted",
    "its connection pool is exhausted: threads wait for a connection",
    _LATENCY,
    (
        "curl localhost:8081/actuator/metrics/hikaricp.connections.active (the port is that of {service})",
        f"Find who holds connections: {_ACTIVITY}",
        "Look for transactions that are left open; enlarge the pool only if the database has connections left",
    ),
    (Symptom.DOWN, Symptom.SLOW),
)
RESTARTING = Cause(
    "restarting",
    "its process was started anew within the last minutes",
    _START,
    (_PREVIOUS, _DESCRIBE, _UNDO),
    confidence=Confidence.MEDIUM,
)
MEMORY_SHORT = Cause(
    "memory_short",
    "its heap is full, and garbage collection takes its time",
    _START,
    ("Increase memory limits, or scale up", "Look for a leak: a heap dump by jcmd PID GC.heap_dump", _DESCRIBE),
    confidence=Confidence.MEDIUM,
)
CRASH_LOOPING = Cause(
    "crash_looping",
    "its process ends again and again, and Kubernetes waits before it starts it anew",
    "podcrashlooping",
    (
        _PREVIOUS,
        _DESCRIBE,
        "Check what it needs to start: SPRING_DATASOURCE_URL, Keycloak, its ConfigMaps and Secrets",
        _UNDO,
    ),
)
OOM_KILLED = Cause(
    "oom_killed",
    "its process takes more memory than its limit, and is killed for it",
    "podoomkilled",
    ("Increase memory limits, and keep the JVM's heap well below them", _DESCRIBE, "Look for a leak"),
)
IMAGE_PULL = Cause(
    "image_pull",
    "the image of its container cannot be had",
    "podnotstarting",
    (_DESCRIBE, "Check name and tag of the image, the registry, and the pull secret", _UNDO),
)
CONTAINER_NOT_CREATED = Cause(
    "container_not_created",
    "its container cannot be made: a ConfigMap, Secret or volume is missing, or its command is wrong",
    "podnotstarting",
    (
        _DESCRIBE,
        ("{kubectl} get configmaps,secrets -n {namespace}", "Check its ConfigMaps, Secrets and volumes"),
        _UNDO,
    ),
)
UNSCHEDULABLE = Cause(
    "unschedulable",
    "no node takes its pods",
    "podunschedulable",
    (
        _DESCRIBE,
        ("{kubectl} describe nodes: what is allocated, taints", "Look at the nodes: what is allocated, taints"),
        "Free or add nodes, or lower what it requests",
    ),
)
QUOTA_EXCEEDED = Cause(
    "quota_exceeded",
    "the namespace's quota is used up: its pods cannot be created",
    "quotablocks",
    (
        ("{kubectl} describe resourcequota -n {namespace}", "Look at the namespace's quota"),
        "Raise the quota, or free what nobody needs",
    ),
)
PODS_REFUSED = Cause(
    "pods_refused",
    "its pods cannot be created: the API server refuses them",
    "quotablocks",
    (("{kubectl} describe replicaset -n {namespace} -l {selector}: the event says why", *_EVENTS),),
)
SCALED_TO_ZERO = Cause(
    "scaled_to_zero",
    "it is scaled to zero: it should have no replica",
    _SCALING,
    (_SCALE, _EVENTS, "Who scaled it? Look at what is deployed"),
)
ROLLOUT_STUCK = Cause(
    "rollout_stuck",
    "its rollout makes no progress",
    "rolloutstuck",
    (_ROLLOUT, _PODS, _UNDO),
    confidence=Confidence.MEDIUM,
)
NODE_UNWELL = Cause(
    "node_unwell",
    "a node that its pods run on is not well",
    "nodepressure",
    (
        (
            "{kubectl} get pods -n {namespace} -l {selector} -o wide: on which nodes",
            "{kubectl} get pods -n {namespace} -o wide: on which nodes",
            "Look on which nodes it runs",
        ),
        (
            "{kubectl} describe nodes: their conditions, and what runs on them",
            "Look at the nodes: their conditions, and what runs on them",
        ),
    ),
    confidence=Confidence.MEDIUM,
)
AUTOSCALER_AT_LIMIT = Cause(
    "autoscaler_at_limit",
    "its autoscaler wants more replicas than it may have",
    "autoscaleratlimit",
    (("{kubectl} get hpa -n {namespace}", "Look at what its autoscaler wants, and may have"), _MORE),
    (Symptom.SLOW,),
)
AUTOSCALER_UNABLE = Cause(
    "autoscaler_unable",
    "its autoscaler cannot scale",
    "autoscalerunable",
    (
        (
            "{kubectl} describe hpa -n {namespace} {autoscaler}: its conditions say why",
            "{kubectl} describe hpa -n {namespace}: its conditions say why",
            "Look at its autoscaler: its conditions say why",
        ),
        _SCALE,
    ),
    (Symptom.SLOW,),
    Confidence.MEDIUM,
)
DEPENDENCY_SLOW = Cause(
    "dependency_slow",
    "{dependency} is slow, which it needs",
    _LATENCY,
    (f"For a database, look for slow queries and locks: {_ACTIVITY}", EXPLAIN),
    (Symptom.SLOW,),
    Confidence.MEDIUM,
)
LOCK_HELD = Cause(
    "lock_held",
    "sessions of {dependency} wait for a lock that another one does not give back",
    "databaselockwait",
    (
        "Find who waits for whom: SELECT pid, pg_blocking_pids(pid), application_name, state, now() - xact_start AS open "
        "FROM pg_stat_activity WHERE state <> 'idle' ORDER BY xact_start",
        "End the session that waits for nobody, if nobody needs it: SELECT pg_terminate_backend(pid)",
        EXPLAIN,
    ),
    (Symptom.DOWN, Symptom.SLOW),
)
POOLER_EXHAUSTED = Cause(
    "pooler_exhausted",
    "clients of {dependency} wait: all server connections of its pool are in use, or it is paused",
    "pgbouncerclientswaiting",
    (
        "Look at its pools: SHOW POOLS, and SHOW DATABASES for what is paused",
        f"Find who holds the connections: {_ACTIVITY}",
        "Enlarge the pool only if the database has connections left",
    ),
    (Symptom.DOWN, Symptom.SLOW),
)
POOLER_FULL = Cause(
    "pooler_full",
    "{dependency} lets no more clients in: its max_client_conn is reached",
    "pgbouncerclientshigh",
    (
        "Find who holds its client connections: SHOW CLIENTS",
        "Lower the pools of the services that have most, or raise max_client_conn and RELOAD",
    ),
)
MIGRATION_STUCK = Cause(
    "migration_stuck",
    "a migration in {dependency} has held Flyway's lock for long: what starts waits for it",
    "migrationstuck",
    (
        "Find what it waits for: SELECT pid, pg_blocking_pids(pid), state, xact_start, query FROM pg_stat_activity",
        "Is it that of {service}? Read its log: it says that it waits for the lock",
        EXPLAIN,
    ),
    confidence=Confidence.MEDIUM,
)
CACHE_MISSES = Cause(
    "cache_misses",
    "the cache serves badly: few lookups find their key",
    _LATENCY,
    (
        "Verify the hit rate: redis-cli info stats (keyspace_hits, keyspace_misses), and evicted_keys",
        "Was the cache emptied, or keys or time to live changed by a rollout?",
    ),
    (Symptom.SLOW,),
    Confidence.MEDIUM,
)
CLUSTER_DOWN = Cause(
    "cluster_down",
    "its cluster does not serve: the nodes refuse whatever is asked for a key",
    "redisclusterdegraded",
    (
        "redis-cli cluster nodes on one of its nodes: which have failed, and which slots nobody serves",
        "Bring failed masters back; where a replica is left and no majority elects it, CLUSTER FAILOVER TAKEOVER on it",
        "Where all nodes run, look at the cluster bus between them: the port plus 10000",
    ),
)
SPLIT_BRAIN = Cause(
    "split_brain",
    "a master that it watches has a second one beside it: both take writes, and one's will be thrown away",
    "redissplitbrain",
    (
        "SENTINEL GET-MASTER-ADDR-BY-NAME on each Sentinel: which master the majority has",
        "Keep what only the other has, then REPLICAOF on it; after a failover Sentinels do that themselves within seconds",
    ),
    (Symptom.UNGUARDED,),
)
MASTER_DOWN = Cause(
    "master_down",
    "a master that it watches is down, and none took over",
    "redismasterdown",
    (
        "Start the master, or mend the Sentinels' way to it; its name and address are in the evidence",
        "SENTINEL CKQUORUM on a Sentinel: whether a failover can be; SENTINEL REPLICAS: who could take over",
        "Where a replica is well and nothing moves: SENTINEL FAILOVER forces it",
    ),
    (Symptom.UNGUARDED,),
)
QUORUM_LOST = Cause(
    "quorum_lost",
    "its Sentinels are too few for a failover: if a master ends, none takes over",
    "redissentinelquorumlost",
    (
        "SENTINEL SENTINELS on one that runs: which of the others it misses",
        "Start those, or mend the network between them; SENTINEL RESET where some were taken away",
    ),
    (Symptom.UNGUARDED,),
)
MEMORY_LIMIT = Cause(
    "memory_limit",
    "it is at its maxmemory and evicts nothing: it refuses writes",
    "rediswritesrefused",
    (
        "redis-cli info memory: used_memory, maxmemory and maxmemory_policy",
        "redis-cli --bigkeys: what fills it; give keys a time to live",
        "redis-cli config set maxmemory, or for a cache config set maxmemory-policy allkeys-lru",
    ),
)
SAVE_FAILING = Cause(
    "save_failing",
    "it cannot save to its disk, and refuses writes until it can",
    "redissavefailing",
    (
        "redis-cli info persistence: rdb_last_bgsave_status, aof_last_write_status; its log says why",
        "Free its disk, or mend the folder's rights, then redis-cli bgsave",
        "Meanwhile, if losing data is the lesser evil: redis-cli config set stop-writes-on-bgsave-error no",
    ),
)
GC_PRESSURE = Cause(
    "gc_pressure",
    "the JVM stands still for garbage collection much of the time",
    _LATENCY,
    ("Check for leaks: heap in use after full collections", "Increase memory limits, or scale up"),
    (Symptom.SLOW,),
    Confidence.MEDIUM,
)
TOO_FEW_REPLICAS = Cause(
    "too_few_replicas",
    "instances of it are missing, and those that are left have all the work",
    _SCALING,
    (_PODS, _DESCRIBE, _SCALE),
    (Symptom.SLOW,),
    Confidence.MEDIUM,
)
WRITES_FAILING = Cause(
    "writes_failing",
    "{dependency} answers, but what is written to it is refused or cannot be read again",
    "kafkawritesfailing",
    (
        "rpk cluster health: brokers that are down, partitions with too few replicas in sync",
        "Check the brokers' disks, and their logs for the error that the canary's part names",
        EXPLAIN,
    ),
    (Symptom.DOWN, Symptom.SLOW),
    Confidence.MEDIUM,
)
BROKER_DOWN = Cause(
    "broker_down",
    "partitions have no broker that answers for them",
    _LAG,
    ("rpk cluster health", "rpk topic describe the topic: partitions without a leader"),
    (Symptom.LAGGING,),
)
CONSUMERS_GONE = Cause(
    "consumers_gone",
    "the group has no member: nobody consumes",
    _LAG,
    (_GROUPS, "Is the service up, and are its listeners started? Look at its log, restart it if they have ended"),
    (Symptom.LAGGING,),
)
CONSUMERS_HANG = Cause(
    "consumers_hang",
    "the group has members, and nothing of it is committed: they hang, or fail at the same message again and again",
    _LAG,
    (
        "Look for an exception that comes again and again in the log: one message may hold up all that come after it",
        "Take a thread dump before anything is restarted: jcmd PID Thread.print",
        _GROUPS,
    ),
    (Symptom.LAGGING,),
)
OFFSETS_AHEAD = Cause(
    "offsets_ahead",
    "the group has committed more than the topic holds: it was made anew, and what comes now is skipped",
    _LAG,
    ("Stop the consumers, then rpk group seek the group --to start, and start them again",),
    (Symptom.LAGGING,),
)
REBALANCING = Cause(
    "rebalancing",
    "members come and go: they share out the partitions again and again, and nobody reads meanwhile",
    _LAG,
    (_GROUPS, "Look for restarts, and for processing that takes longer than max.poll.interval.ms, in the log"),
    (Symptom.LAGGING,),
)
RETENTION_PASSED = Cause(
    "retention_passed",
    "retention deletes messages before the group has read them",
    "kafkamessageslost",
    (
        "Raise retention first, so that no more are lost: rpk topic alter-config the topic --set retention.ms=…",
        "Then have them read: start the consumers, or add some",
        _GROUPS,
    ),
    (Symptom.LAGGING,),
)
TRANSACTION_OPEN = Cause(
    "transaction_open",
    "a transaction that nobody ends keeps back what comes after it: the group reads what was committed alone",
    "kafkatransactionhung",
    (
        "Find whose it is: rpk cluster txn describe-producers of the topic, those with a start offset",
        "Let its producer end it, or restart that: with the same transactional.id it ends what it left open",
        "Where no producer is left: kafka-transactions.sh abort, with topic, partition and start offset",
    ),
    (Symptom.LAGGING,),
)
OFFSETS_REWOUND = Cause(
    "offsets_rewound",
    "the group's offsets went back: it reads again what it had read",
    _LAG,
    (
        "Were they reset on purpose? Then wait: it works them off",
        "Else look whether its commits had expired (offsets.retention.minutes), and for auto.offset.reset=earliest",
        _GROUPS,
    ),
    (Symptom.LAGGING,),
    Confidence.MEDIUM,
)
POISON_MESSAGE = Cause(
    "poison_message",
    "consumers fail at messages: they put them into the dead-letter topic, or try the same ones again and again",
    _LAG,
    (
        "Check for poison messages in the DLQ: rpk topic consume the dead-letter topic -n 5",
        "Look for its exception in the log",
    ),
    (Symptom.LAGGING,),
    Confidence.MEDIUM,
)
SLOW_CONSUMER = Cause(
    "slow_consumer",
    "consumers are there, and slower than what comes in",
    _LAG,
    ("Increase consumer threads", "Scale up consumers", "Check what the service waits for: its latency, its pool"),
    (Symptom.LAGGING,),
    Confidence.LOW,
)
UNKNOWN = Cause(
    "unknown",
    "nothing that is measured says why",
    _START,
    (_PODS, _LOGS),
    (Symptom.DOWN, Symptom.SLOW, Symptom.LAGGING),
    Confidence.LOW,
)

_SERVED = (
    "{handshake}: what is served, and until when",
    "openssl s_client -connect HOST:PORT -servername HOST </dev/null: what is served, and until when",
)

_OF_REASON: Mapping[Reason, tuple[str, str, tuple[Step, ...]]] = {
    Reason.DNS_NOT_FOUND: ("its name does not exist, or has no address", _CHECK, (_ENDPOINTS, "Check the configured name")),
    Reason.CONNECT_REFUSED: ("nobody listens on its port", _START, (_ASK, _PODS, _PREVIOUS)),
    Reason.CONNECT_TIMEOUT: (
        "it takes no connection in time",
        _CHECK,
        (_ASK, _PODS, "Check node, network policies and load"),
    ),
    Reason.UNREACHABLE: (
        "the network has no way to it",
        _CHECK,
        (_ASK, _PODS, "Check node, routes and network policies"),
    ),
    Reason.CONNECTION_CLOSED: ("it closes connections without an answer", _START, (_ASK, _PODS, _LOGS)),
    Reason.TIMEOUT: (
        "it takes the connection and does not answer in time: it hangs",
        _START,
        (_ASK, "Take a thread dump before anything is restarted: jcmd PID Thread.print", _LOGS, "Restart it if it stays so"),
    ),
    Reason.TLS_EXPIRED: ("its certificate has expired", _CHECK, ("Renew certificates, and reload what serves it", _SERVED)),
    Reason.TLS_NOT_YET_VALID: ("its certificate is not valid yet", _CHECK, ("Check the clocks of both sides", _SERVED)),
    Reason.TLS_UNTRUSTED: ("its certificate leads to no trusted root", _CHECK, ("Check chain and CA file", _SERVED)),
    Reason.TLS_NAME_MISMATCH: ("its certificate is for another name", _CHECK, ("Check which host answers", _SERVED)),
    Reason.TLS_FAILED: ("its TLS handshake fails", _CHECK, ("Check protocol versions and client certificates", _SERVED)),
    Reason.HTTP_STATUS: ("it, or a proxy before it, answers with an error status", _START, (_ASK, _PODS, _LOGS, _ENDPOINTS)),
    Reason.REDIRECT: (
        "it redirects, as to a login page",
        _CHECK,
        (_ASK, "Check the health path and what stands before it: was its security changed?"),
    ),
    Reason.PROTOCOL: ("its answer is of another protocol", _CHECK, (_ASK, "Check what listens on the port")),
    Reason.MALFORMED: ("its answer cannot be read", _CHECK, (_ASK, "Check what answers on the health path", _LOGS)),
    Reason.TOO_LARGE: ("its answer is larger than is read", _CHECK, (_ASK, "Check what answers on the health path")),
    Reason.REPORTED_DOWN: ("it says itself that it is down", _START, (_HEALTH, _LOGS)),
    Reason.STARTING: ("it is starting or stopping", _RESTART, (_ROLLOUT, _LOGS)),
    Reason.TOO_MANY_CONNECTIONS: (
        "it has no connection left",
        _DATABASE,
        (f"Check active connections: {_ACTIVITY}", "Kill idle connections: the runbook has the statement"),
    ),
    Reason.QUERY_FAILED: ("it answers a query with an error", _DATABASE, (_ASK, "Look at its log: the error is there")),
    Reason.NO_LEADER: ("partitions or groups have no broker that answers", _LAG, ("rpk cluster health",)),
    Reason.NO_INSTANCES: ("it has no instance", _SCALING, (_PODS, _ENDPOINTS, _SCALE)),
}  # fmt: skip


def _all() -> Iterator[Cause]:
    yield from (
        DEPENDENCY_DOWN, DEPENDENCY_UNREACHABLE, POOL_EXHAUSTED, RESTARTING, MEMORY_SHORT, CRASH_LOOPING, OOM_KILLED,
        IMAGE_PULL, CONTAINER_NOT_CREATED, UNSCHEDULABLE, QUOTA_EXCEEDED, PODS_REFUSED, SCALED_TO_ZERO, ROLLOUT_STUCK,
        NODE_UNWELL, AUTOSCALER_AT_LIMIT, AUTOSCALER_UNABLE, DEPENDENCY_SLOW, LOCK_HELD, POOLER_EXHAUSTED, POOLER_FULL,
        MIGRATION_STUCK, CACHE_MISSES, CLUSTER_DOWN, SPLIT_BRAIN, MASTER_DOWN, QUORUM_LOST, MEMORY_LIMIT, SAVE_FAILING,
        GC_PRESSURE, TOO_FEW_REPLICAS, WRITES_FAILING, BROKER_DOWN, CONSUMERS_GONE, CONSUMERS_HANG, OFFSETS_AHEAD,
        OFFSETS_REWOUND, REBALANCING, TRANSACTION_OPEN, RETENTION_PASSED, POISON_MESSAGE, SLOW_CONSUMER,
    )  # fmt: skip
    for reason in Reason:
        if reason not in PROBER_FAULTS:
            meaning, section, steps = _OF_REASON[reason]
            yield Cause(reason.value, meaning, section, steps)
    yield UNKNOWN


CAUSES: Mapping[str, Cause] = {cause.name: cause for cause in _all()}
"""All causes by name: those that are concluded, then each reason for which a target is down, then that none is known."""


def of_reason(reason: Reason) -> Cause:
    """Return the cause that is the reason of the targets themselves."""
    return CAUSES.get(reason.value, UNKNOWN)
