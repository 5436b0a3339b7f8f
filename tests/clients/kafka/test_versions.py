"""A canary for upgrades: aiokafka's structs are not a public interface, so what is relied on of them is held here."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import pytest
from aiokafka.protocol import types

from exporter.clients.kafka.versions import SPOKEN, prepare
from exporter.verdict import Failure, Reason, Stage

THROTTLED = "throttle_time_ms: Int32, "
BROKERS = "brokers: [node_id: Int32, host: String, port: Int32, rack: String]"
TOPICS = (
    "topics: [error_code: Int16, topic: String, is_internal: Boolean, partitions: [error_code: Int16, partition: Int32, "
    "leader: Int32, replicas: [Int32], isr: [Int32]{more}]]"
)
METADATA = f"{BROKERS}, cluster_id: String, controller_id: Int32, {TOPICS.format(more='')}"
OFFSETS = "topics: [topic: String, partitions: [partition: Int32, error_code: Int16, timestamp: Int64, offset: Int64]]"
ASKED_OFFSETS = "topics: [topic: String, partitions: [partition: Int32, timestamp: Int64]]"
COMMITS = "topics: [topic: String, partitions: [partition: Int32, offset: Int64, metadata: String, error_code: Int16]]"
ASKED_COMMITS = "consumer_group: String, topics: [topic: String, partitions: [Int32]]"
GROUPS = (
    "groups: [error_code: Int16, group: String, state: String, protocol_type: String, protocol: String, members: "
    "[member_id: String, client_id: String, client_host: String, member_metadata: Bytes, member_assignment: Bytes]]"
)
LISTED = "error_code: Int16, groups: [group: String, protocol_type: String]"
VERSIONS = "error_code: Int16, api_versions: [api_key: Int16, min_version: Int16, max_version: Int16]"
LOGIN = "error_code: Int16, error_message: String, sasl_auth_bytes: Bytes"

TAGS = "tags: TaggedFields"
DESCRIBED = f"groups: [CompactString], include_authorized_operations: Boolean, {TAGS}"
ASSIGNMENT = f"(topic_partitions: [topic_id: _Uuid, topic: CompactString, partitions: [Int32], {TAGS}], {TAGS})"
MEMBER = (
    "rack_id: CompactString, member_epoch: Int32, client_id: CompactString, client_host: CompactString, "
    "topics: [CompactString]"
)
DESCRIPTION = (
    f"{THROTTLED}groups: [error_code: Int16, error_message: CompactString, group: CompactString, state: CompactString, "
    "group_epoch: Int32, assignment_epoch: Int32, assignor: CompactString, members: [{members}, " + TAGS + "], "
    f"authorized_operations: Int32, {TAGS}], {TAGS}"
)

ASKED_COMMITS_OF_MANY = (
    f"groups: [group: CompactString, topics: [topic: CompactString, partitions: [Int32], {TAGS}], {TAGS}], "
    f"require_stable: Boolean, {TAGS}"
)
COMMITS_OF_MANY = (
    f"{THROTTLED}groups: [group: CompactString, topics: [topic: CompactString, partitions: [partition: Int32, "
    f"offset: Int64, leader_epoch: Int32, metadata: CompactString, error_code: Int16, {TAGS}], {TAGS}], "
    f"error_code: Int16, {TAGS}], {TAGS}"
)
ASKED_SHARED = f"groups: [group: CompactString, topics: [topic: CompactString, partitions: [Int32], {TAGS}], {TAGS}], {TAGS}"
SHARED = (
    THROTTLED + "groups: [group: CompactString, topics: [topic: CompactString, topic_id: _Uuid, partitions: "
    "[partition: Int32, start_offset: Int64, leader_epoch: Int32, {left}error_code: Int16, error_message: CompactString, "
    + f"{TAGS}], {TAGS}], error_code: Int16, error_message: CompactString, {TAGS}], {TAGS}"
)
ASKED_CONFIGS = "resources: [resource_type: Int8, resource_name: String, config_names: [String]], include_synonyms: Boolean"
CONFIGS = (
    f"{THROTTLED}resources: [error_code: Int16, error_message: String, resource_type: Int8, resource_name: String, "
    "config_entries: [config_names: String, config_value: String, read_only: Boolean, config_source: Int8, "
    "is_sensitive: Boolean, config_synonyms: [config_name: String, config_value: String, config_source: Int8]]]"
)

FIELDS = {
    ("ProduceRequest", 3): (
        "transactional_id: String, required_acks: Int16, timeout: Int32, "
        "topics: [topic: String, partitions: [partition: Int32, messages: Bytes]]",
        "topics: [topic: String, partitions: [partition: Int32, error_code: Int16, offset: Int64, timestamp: Int64]], "
        "throttle_time_ms: Int32",
    ),
    ("FetchRequest", 4): (
        "replica_id: Int32, max_wait_time: Int32, min_bytes: Int32, max_bytes: Int32, isolation_level: Int8, "
        "topics: [topic: String, partitions: [partition: Int32, offset: Int64, max_bytes: Int32]]",
        f"{THROTTLED}topics: [topics: String, partitions: [partition: Int32, error_code: Int16, highwater_offset: Int64, "
        "last_stable_offset: Int64, aborted_transactions: [producer_id: Int64, first_offset: Int64], message_set: Bytes]]",
    ),
    ("OffsetRequest", 1): (f"replica_id: Int32, {ASKED_OFFSETS}", OFFSETS),
    ("OffsetRequest", 2): (f"replica_id: Int32, isolation_level: Int8, {ASKED_OFFSETS}", THROTTLED + OFFSETS),
    ("OffsetRequest", 3): (f"replica_id: Int32, isolation_level: Int8, {ASKED_OFFSETS}", THROTTLED + OFFSETS),
    ("MetadataRequest", 1): ("topics: [String]", METADATA.replace("cluster_id: String, ", "")),
    ("MetadataRequest", 2): ("topics: [String]", METADATA),
    ("MetadataRequest", 3): ("topics: [String]", THROTTLED + METADATA),
    ("MetadataRequest", 4): ("topics: [String], allow_auto_topic_creation: Boolean", THROTTLED + METADATA),
    ("MetadataRequest", 5): (
        "topics: [String], allow_auto_topic_creation: Boolean",
        f"{THROTTLED}{BROKERS}, cluster_id: String, controller_id: Int32, "
        f"{TOPICS.format(more=', offline_replicas: [Int32]')}",
    ),
    ("MetadataRequest", 8): (
        "topics: [String], allow_auto_topic_creation: Boolean, include_cluster_authorized_operations: Boolean, "
        "include_topic_authorized_operations: Boolean",
        f"{THROTTLED}{BROKERS}, cluster_id: String, controller_id: Int32, topics: [error_code: Int16, topic: String, "
        "is_internal: Boolean, partitions: [error_code: Int16, partition: Int32, leader: Int32, leader_epoch: Int32, "
        "replicas: [Int32], isr: [Int32], offline_replicas: [Int32]], authorized_operations: Int32], "
        "cluster_authorized_operations: Int32",
    ),
    ("MetadataRequest", 10): (
        f"topics: [topic_id: _Uuid, topic: CompactString, {TAGS}], allow_auto_topic_creation: Boolean, "
        f"include_cluster_authorized_operations: Boolean, include_topic_authorized_operations: Boolean, {TAGS}",
        f"{THROTTLED}brokers: [node_id: Int32, host: CompactString, port: Int32, rack: CompactString, {TAGS}], "
        "cluster_id: CompactString, controller_id: Int32, topics: [error_code: Int16, topic: CompactString, "
        "topic_id: _Uuid, is_internal: Boolean, partitions: [error_code: Int16, partition: Int32, leader: Int32, "
        f"leader_epoch: Int32, replicas: [Int32], isr: [Int32], offline_replicas: [Int32], {TAGS}], "
        f"authorized_operations: Int32, {TAGS}], cluster_authorized_operations: Int32, {TAGS}",
    ),
    ("OffsetFetchRequest", 1): (ASKED_COMMITS, COMMITS),
    ("OffsetFetchRequest", 2): (ASKED_COMMITS, f"{COMMITS}, error_code: Int16"),
    ("OffsetFetchRequest", 3): (ASKED_COMMITS, f"{THROTTLED}{COMMITS}, error_code: Int16"),
    ("OffsetFetchRequest", 8): (ASKED_COMMITS_OF_MANY, COMMITS_OF_MANY),
    ("DescribeGroupsRequest", 0): ("groups: [String]", GROUPS),
    ("DescribeGroupsRequest", 1): ("groups: [String]", THROTTLED + GROUPS),
    ("DescribeGroupsRequest", 2): ("groups: [String]", THROTTLED + GROUPS),
    ("ListGroupsRequest", 0): ("", LISTED),
    ("ListGroupsRequest", 1): ("", THROTTLED + LISTED),
    ("ListGroupsRequest", 5): (
        f"states_filter: [CompactString], types_filter: [CompactString], {TAGS}",
        f"{THROTTLED}error_code: Int16, groups: [group: CompactString, protocol_type: CompactString, state: CompactString, "
        f"type: CompactString, {TAGS}], {TAGS}",
    ),
    ("ConsumerGroupDescribeRequest", 0): (
        DESCRIBED,
        DESCRIPTION.format(
            members=f"member_id: CompactString, instance_id: CompactString, {MEMBER}, topic_pattern: CompactString, "
            f"assignment: {ASSIGNMENT}, target_assignment: {ASSIGNMENT}"
        ),
    ),
    ("ShareGroupDescribeRequest", 1): (
        DESCRIBED,
        DESCRIPTION.format(members=f"member_id: CompactString, {MEMBER}, assignment: {ASSIGNMENT}"),
    ),
    ("ShareGroupOffsetsRequest", 0): (ASKED_SHARED, SHARED.format(left="")),
    ("ShareGroupOffsetsRequest", 1): (ASKED_SHARED, SHARED.format(left="lag: Int64, ")),
    ("DescribeConfigsRequest", 1): (ASKED_CONFIGS, CONFIGS),
    ("DescribeConfigsRequest", 2): (ASKED_CONFIGS, CONFIGS),
    ("SaslHandShakeRequest", 1): ("mechanism: String", "error_code: Int16, enabled_mechanisms: [String]"),
    ("SaslAuthenticateRequest", 0): ("sasl_auth_bytes: Bytes", LOGIN),
    ("SaslAuthenticateRequest", 1): ("sasl_auth_bytes: Bytes", f"{LOGIN}, session_lifetime_ms: Int64"),
    ("ApiVersionRequest", 0): ("", VERSIONS),
}
"""Fields of request and answer, as exporter/clients/kafka writes and reads them."""


def fields(kind: Any) -> str:
    """A schema in one line, names and types of its fields in their order."""
    if isinstance(kind, types.Schema):
        return ", ".join(f"{name}: {nested(field)}" for name, field in zip(kind.names, kind.fields, strict=True))
    if isinstance(kind, types.Array):
        return f"[{fields(kind.array_of)}]"
    return kind.__name__ if isinstance(kind, type) else type(kind).__name__


def nested(kind: Any) -> str:
    """A field's type; a struct in a struct stands in brackets."""
    return f"({fields(kind)})" if isinstance(kind, types.Schema) else fields(kind)


def struct_of(request: type[Any], version: int) -> Any:
    """The struct that `prepare` takes for this version."""
    structs = getattr(request, "STRUCTS", None) or request._CLASSES
    return next((kind for kind in reversed(structs) if version == kind.API_VERSION), None)


SPOKEN_VERSIONS = [
    pytest.param(request, version, id=f"{request.__name__}-{version}")
    for request, versions in SPOKEN.values()
    for version in versions
]


@pytest.mark.parametrize(("request_type", "version"), SPOKEN_VERSIONS)
def test_aiokafkas_structs_are_as_they_are_relied_on(request_type: type[Any], version: int) -> None:
    """Every version that is spoken: it exists, carries the old kind of header, and has these fields in this order."""
    name = request_type.__name__
    relied_on = f"aiokafka {version_of('aiokafka')}: {name} version {version} is not as exporter/clients/kafka relies on it"
    struct = struct_of(request_type, version)
    assert struct is not None, f"{relied_on}: it is not there; lower the version in versions.py"
    assert struct.API_KEY == request_type.API_KEY, f"{relied_on}: its key is another"
    request, answer = FIELDS[name, version]
    assert struct.FLEXIBLE_VERSION is request.endswith("tags: TaggedFields"), f"{relied_on}: its header is of another kind"
    assert fields(struct.SCHEMA) == request, f"{relied_on}: the request has other fields"
    assert fields(struct.RESPONSE_TYPE.SCHEMA) == answer, f"{relied_on}: the answer has other fields"


def test_the_canary_knows_every_version_and_no_other() -> None:
    """One that is spoken anew must be written down here."""
    assert {(kind.__name__, version) for kind, versions in SPOKEN.values() for version in versions} == set(FIELDS)


@pytest.mark.parametrize(("request_type", "version"), SPOKEN_VERSIONS)
def test_a_broker_that_speaks_one_version_only_is_asked_in_it(request_type: type[Any], version: int) -> None:
    """So that the version in the header is the one that was agreed on."""
    made = {
        "ProduceRequest": (None, -1, 1, []),
        "FetchRequest": (1, 1, 1, 0, []),
        "OffsetRequest": (-1, 0, []),
        "OffsetFetchRequest": (["group"], []),
        "DescribeGroupsRequest": (["group"],),
        "ConsumerGroupDescribeRequest": (["group"],),
        "ShareGroupDescribeRequest": (["group"],),
        "ShareGroupOffsetsRequest": (["group"],),
        "DescribeConfigsRequest": ([],),
        "SaslHandShakeRequest": ("PLAIN",),
        "SaslAuthenticateRequest": (b"token",),
    }
    request = request_type(*made.get(request_type.__name__, ()))
    prepared = prepare(request, {request.API_KEY: (version, version)}, Stage.QUERY)
    assert version == prepared.API_VERSION


def test_a_broker_that_has_left_these_versions_behind_is_named() -> None:
    """Rather than an exception of the library."""
    for key, (request_type, versions) in SPOKEN.items():
        request = object.__new__(request_type)
        with pytest.raises(Failure) as caught:
            prepare(request, {key: (versions[-1] + 1, versions[-1] + 3)}, Stage.QUERY)
        assert caught.value.reason is Reason.PROTOCOL
