"""Shards: whose a service is, told from the names alone."""

from __future__ import annotations

from collections import Counter

import pytest

from exporter.ownership.shards import Shards, ordinal, shard_of

NAMES = [f"{kind}-{n}-service" for kind in ("identity", "order", "billing", "a") for n in range(2_500)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_each_shard_has_about_as_much_as_any_other(count: int) -> None:
    shares = Counter(shard_of(name, count) for name in NAMES)
    fair = len(NAMES) / count
    assert shares.keys() == set(range(count))
    assert all(0.9 * fair < share < 1.1 * fair for share in shares.values())


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_one_more_shard_takes_its_share_and_nothing_else_moves(count: int) -> None:
    moved = [(shard_of(name, count), shard_of(name, count + 1)) for name in NAMES]
    taken = [pair for pair in moved if pair[0] != pair[1]]
    assert {after for _, after in taken} == {count}
    assert len(taken) == pytest.approx(len(NAMES) / (count + 1), rel=0.1)


def test_whose_a_service_is_does_not_change_with_a_release() -> None:
    assert [shard_of(name, 3) for name in ("identity", "order", "billing", "kafka", "postgres")] == EXPECTED


EXPECTED = [0, 0, 2, 1, 1]

NEEDS: dict[str, tuple[str, ...]] = {
    **{f"service-{n}": ("postgres", f"service-{n + 1}") for n in range(30)},
    "service-30": ("redis",),
    "apart": (),
    "postgres": (),
    "redis": (),
    "kafka": (),
}
SHARED = ("postgres", "redis", "kafka")


def test_every_name_is_exported_by_one_shard_and_what_it_needs_is_probed_by_it() -> None:
    shards = [Shards(index, 3, NEEDS, SHARED) for index in range(3)]
    for name in NEEDS:
        assert sum(shard.owns(name) for shard in shards) == 1
    for shard in shards:
        probed = {name for name in NEEDS if shard.needs(name)}
        assert {name for name in NEEDS if shard.owns(name)} <= probed
        assert {other for name in probed for other in NEEDS[name]} <= probed
        assert set(SHARED) <= probed
    assert sum(shard.needs("apart") for shard in shards) == 1


def test_a_shard_that_has_nothing_probes_nothing() -> None:
    shards = [Shards(index, 50, NEEDS, SHARED) for index in range(50)]
    idle = [shard for shard in shards if not any(shard.owns(name) for name in NEEDS)]
    assert idle
    assert not any(shard.needs(name) for shard in idle for name in NEEDS)


def test_a_circle_of_needs_ends() -> None:
    needs = {"a": ("b",), "b": ("a", "gone")}
    assert all(Shards(0, 1, needs, ()).needs(name) for name in needs)


@pytest.mark.parametrize(
    ("host", "number"),
    [
        ("hafnium-exporter-2", 2),
        ("hafnium-exporter-12.hafnium.svc", 12),
        ("hafnium-exporter-7d9f-x2x4z", None),
        ("web2", None),
    ],
)
def test_the_ordinal_is_the_number_at_the_end_of_the_host_name(host: str, number: int | None) -> None:
    assert ordinal(host) == number
