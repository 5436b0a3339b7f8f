"""What Redis, its clusters and its Sentinels answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from exporter.clients.redis import cluster, info, sentinel, slow
from exporter.clients.redis.canary import Canary, tag_within
from exporter.clients.redis.connection import Connection
from exporter.clients.redis.fields import FieldFollower
from exporter.clients.redis.resp import MAX_ANSWER_BYTES, read_answer
from exporter.verdict import Failure, Stage
from fuzz.model import Target
from fuzz.wires import finish, stream_of

__all__ = ["TARGETS"]

_WHOLE = ("used_memory", "maxmemory", "connected_clients", "rdb_last_save_time")
_DECIMAL = ("mem_fragmentation_ratio", "instantaneous_input_kbps")
_DATABASES = ("db0", "db1")
_INFO = info.info_reader((*_WHOLE, *_DECIMAL, *_DATABASES))


def _resp(data: bytes) -> object:
    return finish(read_answer(stream_of(data, MAX_ANSWER_BYTES), Stage.QUERY))


def _asking(*questions: Callable[[Connection], Awaitable[object]]) -> Callable[[bytes], object]:
    """Return what asks one of the questions, by the first byte of an input, of a server that answers with the rest."""

    async def ask(data: bytes) -> object:
        question = questions[data[0] % len(questions)]
        return await question(Connection(stream_of(data[1:], MAX_ANSWER_BYTES)))

    return lambda data: finish(ask(data)) if data else None


async def _info(connection: Connection) -> object:
    found = await info.read_info(connection, FieldFollower(_INFO))
    numbers = [found.number(name) for name in _WHOLE]
    ratios = [found.decimal(name) for name in _DECIMAL]
    databases = [found.within(name).number("keys") for name in _DATABASES]
    return numbers, ratios, databases, found.lookups, found.run, found.role, found.clustered, found.master_link_up


async def _slots(connection: Connection) -> object:
    slots = await cluster.read_own_slots(connection)
    return [(each.start, each.stop) for each in slots], tag_within(slots)


async def _watched(connection: Connection) -> object:
    return [each async for each in sentinel.read_watched(connection)]


async def _canary(connection: Connection) -> object:
    return await Canary("fuzz:", 1.0).fly(connection)


async def _log_in(connection: Connection) -> object:
    await connection.log_in("user", "password")
    return None


TARGETS = (
    Target("resp", _resp, ("exporter.clients.redis.resp",), (Failure, OSError)),
    Target(
        "redis-info",
        _asking(_info, slow.read_slow_log, slow.read_latency_events, _canary, _log_in),
        (
            "exporter.clients.redis.info", "exporter.clients.redis.fields", "exporter.clients.redis.slow",
            "exporter.clients.redis.canary", "exporter.clients.redis.connection", "exporter.clients.redis.lookups",
        ),
        (Failure, OSError),
    ),
    Target(
        "redis-cluster",
        _asking(cluster.read_cluster, cluster.count_failed_nodes, _slots, cluster.may_be_clustered, _watched),
        ("exporter.clients.redis.cluster", "exporter.clients.redis.sentinel"),
        (Failure, OSError),
    ),
)  # fmt: skip
