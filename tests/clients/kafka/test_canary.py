"""What a canary makes of answers that a real broker does not give."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import once, part, probe_of, values
from tests.clients.kafka.brokers import API, FakeCluster, FakeGroup, FakePartition

TOPIC = "hafnium.canary"


def cluster(partitions: int = 1) -> FakeCluster:
    return FakeCluster(
        topics={TOPIC: {number: FakePartition() for number in range(partitions)}, "orders": {0: FakePartition(end=9)}},
        groups={"billing": FakeGroup(commits={("orders", 0): 2})},
    )


async def fly(shared: SharedClients, fake: FakeCluster, timeout: float = 5.0) -> Outcome:
    """Fly once; whatever becomes of it, the verdict and the lag stand."""
    outcome = await once(shared, fake.port(), timeout=timeout, canary={})
    assert outcome.verdict is Verdict.UP
    assert values(outcome, kafka.LAG) == {("billing", "orders", "0"): 7}
    assert outcome.parts["groups"] is None
    assert outcome.parts["offsets"] is None
    return outcome


def flown(outcome: Outcome) -> dict[str, float]:
    return {number: well for (number,), well in values(outcome, kafka.CANARY).items()}


def without(count: int) -> Callable[[bytes], bytes]:
    return lambda batch: batch[:-count]


def with_byte(at: int, value: int) -> Callable[[bytes], bytes]:
    return lambda batch: batch[:at] + bytes([value]) + batch[at + 1 :]


ATTRIBUTES, MAGIC = 22, 16
"""Where a batch says how it is compressed, and which format it is of."""


@pytest.mark.parametrize(
    ("serves", "reason", "words"),
    [
        (lambda _: b"", Reason.QUERY_FAILED, "not found again"),
        (without(1), Reason.MALFORMED, "not a whole batch"),
        (lambda batch: batch[:20], Reason.MALFORMED, "not a whole batch"),
        (with_byte(70, 255), Reason.MALFORMED, "checksum"),
        (with_byte(7, 9), Reason.QUERY_FAILED, "something else than was written"),
        (with_byte(ATTRIBUTES, 1), Reason.QUERY_FAILED, "compression.type"),
        (with_byte(MAGIC, 0), Reason.MALFORMED, "message.format.version"),
        (with_byte(MAGIC, 1), Reason.MALFORMED, "message.format.version"),
        (lambda batch: batch[:MAGIC] + b"\0\0\xff\0\0\0" + batch[MAGIC + 6 :], Reason.MALFORMED, ""),  # a negative length
        (lambda batch: b"\xff" * len(batch), Reason.MALFORMED, ""),
        (lambda batch: b"\0" * len(batch), Reason.MALFORMED, ""),
    ],
)
async def test_what_is_fetched_must_be_what_was_written(
    serves: Callable[[bytes], bytes], reason: Reason, words: str, shared: SharedClients
) -> None:
    async with cluster().running() as fake:
        fake.serves = serves
        outcome = await fly(shared, fake, 20.0)
    assert part(outcome, "canary") == (Stage.CHECK, reason)
    assert words in str(outcome.parts["canary"])
    assert flown(outcome) == ({} if "compression" in words else {"0": 0})
    assert kafka.CANARY_SECONDS not in outcome.samples


async def test_a_record_of_another_round_is_not_taken_for_this_one(shared: SharedClients) -> None:
    async with cluster().running() as fake:
        probe = probe_of(shared, fake.port(), canary={})
        outcomes = []
        try:
            outcomes.append(await run_probe(probe, 5.0))
            first = fake.batches[TOPIC, 0][0]
            fake.serves = lambda _: (1).to_bytes(8, "big") + first[8:]
            outcomes.append(await run_probe(probe, 5.0))
        finally:
            await probe.close()
    assert [flown(outcome) for outcome in outcomes] == [{"0": 1}, {"0": 0}]


@pytest.mark.parametrize(
    ("code", "reason", "well"),
    [
        (29, Reason.AUTH, {"1": 1}),
        (10, Reason.QUERY_FAILED, {"1": 1}),
        (19, Reason.QUERY_FAILED, {"0": 0, "1": 1}),
        (7, Reason.TIMEOUT, {"0": 0, "1": 1}),
    ],
)
async def test_a_partition_that_refuses_fails_alone(
    code: int, reason: Reason, well: dict[str, float], shared: SharedClients
) -> None:
    """Missing rights are unknown, as is too small a topic; all else is a failure, which spoils its broker's times."""
    async with cluster(2).running() as fake:
        fake.refuses[TOPIC, 0] = code
        outcome = await fly(shared, fake)
    assert part(outcome, "canary") == (Stage.CHECK, reason)
    assert flown(outcome) == well
    assert kafka.CANARY_SECONDS not in outcome.samples


@pytest.mark.parametrize("key", [API.PRODUCE, API.FETCH])
async def test_a_broker_that_does_not_answer_is_given_up_in_time(key: int, shared: SharedClients) -> None:
    async with cluster().running() as fake:
        fake.hangs.add((1, key))
        began = time.monotonic()
        outcome = await fly(shared, fake, 2.0)
        assert time.monotonic() - began < 2.0
    assert part(outcome, "canary") is not None
    assert flown(outcome) == {"0": 0}


async def test_what_was_not_asked_for_is_left_out_and_what_is_not_answered_is_told(shared: SharedClients) -> None:
    async with cluster(2).running() as fake:
        fake.strays = True
        fake.omits.add((TOPIC, 1))
        outcome = await once(shared, fake.port(), timeout=5.0, canary={})
    assert part(outcome, "canary") == (Stage.CHECK, Reason.MALFORMED)
    assert flown(outcome) == {"0": 1, "1": 0}


async def test_a_topic_of_very_many_partitions_is_flown_to_in_part(shared: SharedClients) -> None:
    async with cluster(3000).running() as fake:
        outcome = await fly(shared, fake, 20.0)
    assert flown(outcome) == {str(number): 1 for number in range(100)}
    assert fake.asked[1, API.PRODUCE] == fake.asked[1, API.FETCH] == 1


async def test_a_broker_that_speaks_neither_is_told(shared: SharedClients) -> None:
    fake = cluster()
    del fake.versions[API.PRODUCE]
    async with fake.running():
        outcome = await fly(shared, fake)
    assert outcome.parts["canary"] is not None
    assert outcome.parts["canary"].reason is Reason.PROTOCOL


async def test_a_canary_for_which_no_time_is_left_says_nothing_of_the_brokers(shared: SharedClients) -> None:
    """Metadata took it; a failure of the part, and no partition that takes no record."""
    async with cluster().running() as fake:
        probe = probe_of(shared, fake.port(), canary={})
        try:
            await run_probe(probe, 2.0)
            fake.delays |= {(1, API.METADATA): 1.7, (1, API.PRODUCE): 0.2}
            outcome = await run_probe(probe, 2.0)
        finally:
            await probe.close()
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "canary") == (Stage.QUERY, Reason.TIMEOUT)
    assert kafka.CANARY not in outcome.samples


async def test_a_timeout_while_the_prober_stood_still_is_its_own(shared: SharedClients) -> None:
    """The broker would have answered: neither it nor what it leads is told to be down."""
    async with cluster().running() as fake:
        probe = probe_of(shared, fake.port(), canary={})
        try:
            for key, name in ((API.PRODUCE, "canary"), (API.LIST, "groups")):
                fake.hangs = {(1, key)}
                silent = await run_probe(probe, 2.0)
                excused = await run_probe(probe, 2.0, lambda _: 0.6)
                assert part(silent, name) == (Stage.QUERY, Reason.TIMEOUT)
                assert part(excused, name) == (Stage.QUERY, Reason.PROBER_LOOP_LAG)
                assert (silent.verdict, excused.verdict) == (Verdict.UP, Verdict.UP)
                family = kafka.CANARY if key == API.PRODUCE else kafka.BROKER_UP
                assert list(silent.samples[family].values()) == [0]
                assert family not in excused.samples
        finally:
            await probe.close()
