"""Which requests are spoken, in which versions.

The structs are `aiokafka.protocol`'s, which is not a public interface: tests/clients/kafka/test_versions.py holds every
version spoken here against the fields that are relied on, so that an upgrade which changes them fails there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.protocol.admin import (
    ApiVersionRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
    SaslAuthenticateRequest,
    SaslHandShakeRequest,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest

from exporter.clients.kafka.requests import (
    ConsumerGroupDescribeRequest,
    ListGroupsRequest,
    MetadataRequest,
    OffsetFetchRequest,
    ShareGroupDescribeRequest,
    ShareGroupOffsetsRequest,
)
from exporter.verdict import Failure, Reason, Stage

__all__ = ["BEFORE_AGREEING", "SPOKEN", "prepare"]

Versions = Mapping[int, tuple[int, int]]
"""Lowest and highest version by API key."""

SPOKEN: dict[int, tuple[type[Any], tuple[int, ...]]] = {
    request.API_KEY: (request, versions)
    for request, versions in (
        (ProduceRequest, (3,)),  # the oldest that carries records as they are written today, and that Kafka 4 takes
        (FetchRequest, (4,)),  # likewise
        (OffsetRequest, (1, 2, 3)),
        (MetadataRequest, (1, 2, 3, 4, 5, 8, 10)),
        (OffsetFetchRequest, (1, 2, 3, 8)),  # version 8 asks for many groups
        (DescribeGroupsRequest, (0, 1, 2)),  # aiokafka 0.14 reads answers of version 3 as those of version 2
        (ListGroupsRequest, (0, 1, 5)),
        (SaslHandShakeRequest, (1,)),
        (SaslAuthenticateRequest, (0, 1)),
        (ApiVersionRequest, (0,)),
        (ConsumerGroupDescribeRequest, (0,)),
        (ShareGroupDescribeRequest, (1,)),
        (ShareGroupOffsetsRequest, (0, 1)),
        (DescribeConfigsRequest, (1, 2)),
    )
}
"""Requests by API key, with the versions that are spoken here."""

BEFORE_AGREEING: Versions = {ApiVersionRequest.API_KEY: (0, 0)}
"""What may be asked of a broker that has not said yet what it speaks."""


def prepare(request: Any, broker: Versions, stage: Stage) -> Any:
    """Return the request in the newest version that both sides speak.

    Args:
        request: Of `aiokafka.protocol`, or one that is prepared like those.
        broker: What the broker speaks.
        stage: The stage under way.

    Raises:
        Failure: There is no such version.
    """
    kind, versions = SPOKEN[request.API_KEY]
    name = kind.__name__.removesuffix("Request")
    if request.API_KEY not in broker:
        raise Failure(stage, Reason.PROTOCOL, f"the broker does not know {name}")
    lowest, highest = broker[request.API_KEY]
    common = [version for version in versions if lowest <= version <= highest]
    if not common:
        detail = f"{name}: the broker speaks versions {lowest} to {highest}, the probe {versions[0]} to {versions[-1]}"
        raise Failure(stage, Reason.PROTOCOL, detail)
    return request.prepare({request.API_KEY: (common[-1], common[-1])})
