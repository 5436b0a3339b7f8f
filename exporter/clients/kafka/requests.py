"""Requests in versions that aiokafka has not: who may see what, of which kind a group is, and groups of the new protocols.

Written with aiokafka's types, so that they are sent and read as its own are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar

from aiokafka.protocol import admin, commit, metadata
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "CLUSTER_DESCRIBE",
    "ConsumerGroupDescribeRequest",
    "ListGroupsRequest",
    "MetadataRequest",
    "OffsetFetchRequest",
    "ShareGroupDescribeRequest",
    "ShareGroupOffsetsRequest",
]

CLUSTER_DESCRIBE = 1 << 8
"""Bit of the right to describe the cluster: with it every group is listed, without it those that may be described."""

_METADATA_MAKES_NONE = 4
"""Version of the request for metadata from which on it can say that a topic that it names is not to be made."""

_METADATA_IDENTITIES = 10
"""Version of the request for metadata from which on topics have identities."""

_NO_IDENTITY = bytes(16)


def _struct(name: str, base: Any, **fields: Any) -> Any:
    """Make a struct of the library's, whose classes carry no types."""
    return type(name, (base,), fields)


class _Request(ABC):
    """A request in the versions that there are structs of; to `BrokerConnection.ask` the same as aiokafka's."""

    API_KEY: ClassVar[int]
    STRUCTS: ClassVar[tuple[Any, ...]]

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Any:
        """Take the newest version of those given, which there is a struct of."""
        newest = versions[self.API_KEY][1]
        return next(struct for struct in self.STRUCTS if newest == struct.API_VERSION)(*self.values(newest))

    @abstractmethod
    def values(self, version: int) -> tuple[Any, ...]:
        """Return the fields of the version."""


# Metadata.


class _Uuid:
    """Sixteen bytes."""

    @staticmethod
    def encode(value: bytes) -> bytes:
        return value

    @staticmethod
    def decode(data: BytesIO) -> bytes:
        value = data.read(16)
        if len(value) != 16:
            raise ValueError("not a whole UUID")
        return value


_MetadataResponse_v8 = _struct(
    "MetadataResponse_v8",
    Response,
    API_KEY=3,
    API_VERSION=8,
    SCHEMA=Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    ),
)


_MetadataRequest_v8 = _struct(
    "MetadataRequest_v8",
    RequestStruct,
    API_KEY=3,
    API_VERSION=8,
    RESPONSE_TYPE=_MetadataResponse_v8,
    SCHEMA=Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    ),
)


_MetadataResponse_v10 = _struct(
    "MetadataResponse_v10",
    Response,
    API_KEY=3,
    API_VERSION=10,
    SCHEMA=Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    ),
)


_MetadataRequest_v10 = _struct(
    "MetadataRequest_v10",
    RequestStruct,
    FLEXIBLE_VERSION=True,
    API_KEY=3,
    API_VERSION=10,
    RESPONSE_TYPE=_MetadataResponse_v10,
    SCHEMA=Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    ),
)


class MetadataRequest(_Request):
    """Asks for all brokers and topics, and for what may be done with the cluster. It brings no topic into being.

    From version 10 on each topic has an identity; version 11 no longer tells what may be done.

    Args:
        topics: Those alone that are asked for, by name; None for all.
    """

    API_KEY = 3
    STRUCTS = (
        metadata.MetadataRequest_v1, metadata.MetadataRequest_v2, metadata.MetadataRequest_v3,
        metadata.MetadataRequest_v4, metadata.MetadataRequest_v5, _MetadataRequest_v8,
        _MetadataRequest_v10,
    )  # fmt: skip

    def __init__(self, topics: Sequence[str] | None = None) -> None:
        self._topics = topics

    def values(self, version: int) -> tuple[Any, ...]:
        """Fill in what the version has: null is all topics.

        Raises:
            Failure: Topics are asked for by name in a version that may make them.
        """
        topics: Sequence[Any] | None = self._topics
        if topics is not None and version < _METADATA_MAKES_NONE:
            raise Failure(Stage.CHECK, Reason.PROTOCOL, "Metadata: to ask this broker for a topic may be to make it")
        if topics is not None and version >= _METADATA_IDENTITIES:
            topics = [(_NO_IDENTITY, topic, {}) for topic in topics]
        by_version: dict[int, tuple[Any, ...]] = {
            4: (topics, False),
            5: (topics, False),
            8: (topics, False, self._topics is None, False),
            10: (topics, False, self._topics is None, False, {}),
        }
        return by_version.get(version, (topics,))


# Groups.


_ListGroupsResponse_v5 = _struct(
    "ListGroupsResponse_v5",
    Response,
    API_KEY=16,
    API_VERSION=5,
    SCHEMA=Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "groups",
            CompactArray(
                ("group", CompactString("utf-8")),
                ("protocol_type", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("type", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    ),
)


_ListGroupsRequest_v5 = _struct(
    "ListGroupsRequest_v5",
    RequestStruct,
    FLEXIBLE_VERSION=True,
    API_KEY=16,
    API_VERSION=5,
    RESPONSE_TYPE=_ListGroupsResponse_v5,
    SCHEMA=Schema(
        ("states_filter", CompactArray(CompactString("utf-8"))),
        ("types_filter", CompactArray(CompactString("utf-8"))),
        ("tags", TaggedFields),
    ),
)


class ListGroupsRequest(_Request):
    """Asks a broker for the groups that it coordinates; from version 5 on with their kind."""

    API_KEY = 16
    STRUCTS = (admin.ListGroupsRequest_v0, admin.ListGroupsRequest_v1, _ListGroupsRequest_v5)

    def values(self, version: int) -> tuple[Any, ...]:
        """Fill in what the version has: no filter is all groups."""
        return ([], [], {}) if version >= 5 else ()


_ASSIGNMENT = Schema(
    (
        "topic_partitions",
        CompactArray(
            ("topic_id", _Uuid),
            ("topic", CompactString("utf-8")),
            ("partitions", CompactArray(Int32)),
            ("tags", TaggedFields),
        ),
    ),
    ("tags", TaggedFields),
)


def _described(*members: tuple[str, Any]) -> Schema:
    """Return the answer to a request for groups of a new protocol, by what each member is told of."""
    return Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("group", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("group_epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor", CompactString("utf-8")),
                ("members", CompactArray(*members, ("tags", TaggedFields))),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


_ASKED = Schema(
    ("groups", CompactArray(CompactString("utf-8"))),
    ("include_authorized_operations", Boolean),
    ("tags", TaggedFields),
)


_ConsumerGroupDescribeResponse_v0 = _struct(
    "ConsumerGroupDescribeResponse_v0",
    Response,
    API_KEY=69,
    API_VERSION=0,
    SCHEMA=_described(
        ("member_id", CompactString("utf-8")),
        ("instance_id", CompactString("utf-8")),
        ("rack_id", CompactString("utf-8")),
        ("member_epoch", Int32),
        ("client_id", CompactString("utf-8")),
        ("client_host", CompactString("utf-8")),
        ("topics", CompactArray(CompactString("utf-8"))),
        ("topic_pattern", CompactString("utf-8")),
        ("assignment", _ASSIGNMENT),
        ("target_assignment", _ASSIGNMENT),
    ),
)


_ConsumerGroupDescribeRequest_v0 = _struct(
    "ConsumerGroupDescribeRequest_v0",
    RequestStruct,
    FLEXIBLE_VERSION=True,
    API_KEY=69,
    API_VERSION=0,
    RESPONSE_TYPE=_ConsumerGroupDescribeResponse_v0,
    SCHEMA=_ASKED,
)


_ShareGroupDescribeResponse_v1 = _struct(
    "ShareGroupDescribeResponse_v1",
    Response,
    API_KEY=77,
    API_VERSION=1,
    SCHEMA=_described(
        ("member_id", CompactString("utf-8")),
        ("rack_id", CompactString("utf-8")),
        ("member_epoch", Int32),
        ("client_id", CompactString("utf-8")),
        ("client_host", CompactString("utf-8")),
        ("topics", CompactArray(CompactString("utf-8"))),
        ("assignment", _ASSIGNMENT),
    ),
)


_ShareGroupDescribeRequest_v1 = _struct(
    "ShareGroupDescribeRequest_v1",
    RequestStruct,
    FLEXIBLE_VERSION=True,
    API_KEY=77,
    API_VERSION=1,
    RESPONSE_TYPE=_ShareGroupDescribeResponse_v1,
    SCHEMA=_ASKED,
)


class _DescribeRequest(_Request):
    def __init__(self, groups: Sequence[str]) -> None:
        self._groups = groups

    def values(self, _version: int) -> tuple[Any, ...]:
        """Name the groups; what may be done with them is not asked for."""
        return self._groups, False, {}


class ConsumerGroupDescribeRequest(_DescribeRequest):
    """Asks for groups of the new consumer protocol (KIP-848)."""

    API_KEY = 69
    STRUCTS = (_ConsumerGroupDescribeRequest_v0,)


class ShareGroupDescribeRequest(_DescribeRequest):
    """Asks for share groups (KIP-932)."""

    API_KEY = 77
    STRUCTS = (_ShareGroupDescribeRequest_v1,)


# What groups have committed.


_OffsetFetchResponse_v8 = _struct(
    "OffsetFetchResponse_v8",
    Response,
    API_KEY=9,
    API_VERSION=8,
    SCHEMA=Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("group", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")),
                        (
                            "partitions",
                            CompactArray(
                                ("partition", Int32),
                                ("offset", Int64),
                                ("leader_epoch", Int32),
                                ("metadata", CompactString("utf-8")),
                                ("error_code", Int16),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("error_code", Int16),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    ),
)


_PARTITIONS_OF_GROUPS = (
    "groups",
    CompactArray(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("tags", TaggedFields),
    ),
)
"""Which partitions are asked about, group by group."""

_OffsetFetchRequest_v8 = _struct(
    "OffsetFetchRequest_v8",
    RequestStruct,
    FLEXIBLE_VERSION=True,
    API_KEY=9,
    API_VERSION=8,
    RESPONSE_TYPE=_OffsetFetchResponse_v8,
    SCHEMA=Schema(
        _PARTITIONS_OF_GROUPS,
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    ),
)


class OffsetFetchRequest(_Request):
    """Asks for a group's commits, and from version 8 on for those of many groups.

    `commits.py` writes and reads it by hand, and its tests hold that against these structs.
    """

    API_KEY = 9
    STRUCTS = (
        commit.OffsetFetchRequest_v1, commit.OffsetFetchRequest_v2, commit.OffsetFetchRequest_v3, _OffsetFetchRequest_v8
    )  # fmt: skip

    def __init__(self, groups: Sequence[str], topics: Sequence[tuple[str, Sequence[int]]] | None) -> None:
        self._groups = groups
        self._topics = topics

    def values(self, version: int) -> tuple[Any, ...]:
        """Ask the same of each group; null is all topics."""
        if version < 8:
            return self._groups[0], self._topics
        topics: Any = [(*topic, {}) for topic in self._topics] if self._topics is not None else None
        return [(group, topics, {}) for group in self._groups], False, {}


# Share groups' offsets.


def _share_offsets(version: int) -> Any:
    """Return the struct of a version; from version 1 on the broker itself counts what is not finished with."""
    response = _struct(
        f"DescribeShareGroupOffsetsResponse_v{version}",
        Response,
        API_KEY=90,
        API_VERSION=version,
        SCHEMA=Schema(
            ("throttle_time_ms", Int32),
            (
                "groups",
                CompactArray(
                    ("group", CompactString("utf-8")),
                    (
                        "topics",
                        CompactArray(
                            ("topic", CompactString("utf-8")),
                            ("topic_id", _Uuid),
                            (
                                "partitions",
                                CompactArray(
                                    ("partition", Int32),
                                    ("start_offset", Int64),
                                    ("leader_epoch", Int32),
                                    *((("lag", Int64),) if version else ()),
                                    ("error_code", Int16),
                                    ("error_message", CompactString("utf-8")),
                                    ("tags", TaggedFields),
                                ),
                            ),
                            ("tags", TaggedFields),
                        ),
                    ),
                    ("error_code", Int16),
                    ("error_message", CompactString("utf-8")),
                    ("tags", TaggedFields),
                ),
            ),
            ("tags", TaggedFields),
        ),
    )
    return _struct(
        f"DescribeShareGroupOffsetsRequest_v{version}",
        RequestStruct,
        FLEXIBLE_VERSION=True,
        API_KEY=90,
        API_VERSION=version,
        RESPONSE_TYPE=response,
        SCHEMA=Schema(
            _PARTITIONS_OF_GROUPS,
            ("tags", TaggedFields),
        ),
    )


class ShareGroupOffsetsRequest(_Request):
    """Asks where share groups are in all of their topics (DescribeShareGroupOffsets, KIP-932)."""

    API_KEY = 90
    STRUCTS = (_share_offsets(0), _share_offsets(1))

    def __init__(self, groups: Sequence[str]) -> None:
        self._groups = groups

    def values(self, _version: int) -> tuple[Any, ...]:
        """Name the groups; null is all topics."""
        return [(group, None, {}) for group in self._groups], {}
