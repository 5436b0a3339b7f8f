"""The store: samples are encoded when they are written, so that a scrape joins ready bytes.

An *owner* is whatever publishes a set of series and takes them away again: a target, a service's probe, the exporter
itself. For each family the store keeps one chunk of encoded lines per owner. Writers replace chunks; a scrape joins them;
closing an owner removes all its series at once.

Everything here runs on the event loop's thread, but for `Owner.encode`, which only reads: there are no locks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import accumulate, compress, count
from operator import ne
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from exporter.metrics.encoding import format_value, label_pairs, sample_prefix, value_end
from exporter.metrics.family import COUNT, SUM, Family, Kind

__all__ = ["LARGE", "Encoded", "Histogram", "LabelValues", "Owner", "Samples", "Settled", "Store"]

LabelValues = tuple[str, ...]
Samples = Mapping[Family, Mapping[LabelValues, float]]
Settled = MappingProxyType[LabelValues, float]
"""Samples of a family that nobody changes any more: published once again they need not be looked at."""

Shape = tuple[LabelValues, ...]
"""The labels of a family's series, in the order of their lines."""

_UNLABELLED: Shape = ((),)
_MOST_SHARED = 50_000
"""Parts of what is kept for others to share, all together: some megabytes. A family whose labels are others at each attempt
would else be kept thousands of times."""

_LARGEST_SHARED = 500
"""Parts of the largest item that is kept for others: nobody else has as many alike."""

LARGE = 5000
"""Series of a family past which they are worth encoding in a thread: that many take some milliseconds."""

H = TypeVar("H", bound=Collection[Any])


class _Block:
    """All series of one family: a header for each format and one chunk per owner."""

    __slots__ = ("chunks", "family", "openmetrics_header", "text_header")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.chunks: dict[int, bytes] = {}
        text = family.help.replace("\\", "\\\\")
        self.text_header = f"# HELP {family.name} {text}\n# TYPE {family.name} {family.kind}\n".encode()
        name = family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name
        text = text.replace('"', '\\"')
        self.openmetrics_header = f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n".encode()


class Store:
    """All series that a scrape returns."""

    def __init__(self) -> None:
        self._blocks: dict[str, _Block] = {}
        self._next_owner = 0
        self._shared: dict[Any, Any] = {}
        self._shared_parts = 0

    def owner(self, labels: Mapping[str, str]) -> Owner:
        """Make a publisher whose series all carry `labels`, in the given order."""
        self._next_owner += 1
        return Owner(self, self._next_owner, labels)

    def block(self, family: Family) -> _Block:
        """Return the family's block, made on first use and kept in name order.

        Raises:
            ValueError: Another declaration has the same name.
        """
        block = self._blocks.get(family.name)
        if block is None:
            block = _Block(family)
            self._blocks[family.name] = block
            self._blocks = dict(sorted(self._blocks.items()))
        elif block.family is not family:
            raise ValueError(f"{family.name} is declared twice")
        return block

    def withdraw(self, family: Family, owner_id: int) -> None:
        """Remove what an owner has published of a family, if it has."""
        block = self._blocks.get(family.name)
        if block is not None and block.family is family:
            block.chunks.pop(owner_id, None)

    def chunk(self, family: Family, owner_id: int) -> bytes:
        """Return the lines that an owner has published of a family."""
        block = self._blocks.get(family.name)
        return block.chunks.get(owner_id, b"") if block is not None else b""

    def hand_over(self, owner_id: int, to: Store) -> int:
        """Give all that an owner has published to another store; return the owner's number there."""
        to._next_owner += 1
        for block in self._blocks.values():
            chunk = block.chunks.pop(owner_id, None)
            if chunk is not None:
                to.block(block.family).chunks[to._next_owner] = chunk
        return to._next_owner

    def rewrite(self, owner_id: int, before: bytes, after: bytes) -> None:
        """Replace a text in all lines of an owner."""
        for block in self._blocks.values():
            if owner_id in block.chunks:
                block.chunks[owner_id] = block.chunks[owner_id].replace(before, after)

    def shared(self, item: H) -> H:
        """Return the first of equal items: what thousands of owners have alike is kept once."""
        if len(item) > _LARGEST_SHARED:
            return item
        found: H | None = self._shared.get(item)
        if found is not None:
            return found
        if self._shared_parts + len(item) > _MOST_SHARED:
            self._shared.clear()
            self._shared_parts = 0
        self._shared[item] = item
        self._shared_parts += len(item) + 1
        return item

    def render(self, *, openmetrics: bool = False) -> bytes:
        """Join everything published so far into one exposition. Reads only; costs one join."""
        return b"".join(self.parts(openmetrics=openmetrics))

    def parts(self, *, openmetrics: bool = False, of_services: bool = True) -> list[bytes]:
        """Return what `render` joins, as it is at this moment: whoever has thousands of targets joins them elsewhere.

        Args:
            openmetrics: In that format.
            of_services: With the families that are of services or targets, and not only those of the exporter itself.
        """
        parts: list[bytes] = []
        for block in self._blocks.values():
            if block.chunks and (of_services or not block.family.owner_labels):
                parts.append(block.openmetrics_header if openmetrics else block.text_header)
                parts.extend(block.chunks.values())
        if openmetrics:
            parts.append(b"# EOF\n")
        return parts

    def series_of(self, name: str) -> Iterator[bytes]:
        """Yield the encoded lines of one family; for tests and diagnosis."""
        block = self._blocks.get(name)
        if block is not None:
            for chunk in block.chunks.values():
                yield from chunk.rstrip(b"\n").split(b"\n")


class _Lines(NamedTuple):
    """Series of a family as they are published.

    Attributes:
        shape: Their labels, in the order of the lines.
        values: Of a large family its values, likewise: what has not changed need not be written again.
        lines: All of them.
    """

    shape: Shape
    values: tuple[float, ...]
    lines: bytes


@dataclass(frozen=True, slots=True)
class Encoded:
    """Large families of an observation, as lines.

    Attributes:
        base: The owner's labels that they were encoded with.
        families: The lines of each.
    """

    base: str
    families: Mapping[Family, _Lines]


class Owner:
    """Publishes series that share a set of labels, and withdraws them.

    There are two ways to publish. `publish` replaces the whole set of an observation: what it does not name, and an earlier
    `publish` did, is withdrawn, so no gauge outlives the observation that set it. `put` and `drop` keep single families that
    live on across observations: counters, histograms, verdicts. One family belongs to one of the two ways.
    """

    __slots__ = ("_base", "_closed", "_id", "_published", "_put", "_settled", "_shapes", "_store", "_values")

    def __init__(self, store: Store, owner_id: int, labels: Mapping[str, str]) -> None:
        self._store = store
        self._id = owner_id
        self._base = label_pairs(labels.items())
        self._shapes: dict[Family, Shape] = {}
        self._values: dict[Family, tuple[float, ...]] = {}
        self._published: frozenset[Family] = frozenset()
        self._settled: Mapping[Family, Settled] = {}
        self._put: set[Family] = set()
        self._closed = False

    def encode(self, samples: Samples) -> Encoded:
        """Encode the large families of an observation, for `publish`. It only reads: a thread may call it meanwhile.

        Raises:
            ValueError: A sample cannot be written.
        """
        base = self._base  # before any line is made: labels may change meanwhile
        large = {family: self._encoded(family, values) for family, values in samples.items() if len(values) > LARGE}
        return Encoded(base, large)

    def publish(self, samples: Samples, encoded: Encoded | None = None) -> None:
        """Replace this owner's observation by `samples`. Nothing of them is kept but their encoded lines.

        Args:
            samples: The observation.
            encoded: What `encode` made of it, where that was called; nothing was published in between.

        When it raises, because of a sample that cannot be written, the whole observation is withdrawn.
        """
        if self._closed:
            return
        old, stood, self._settled = self._published, self._settled, {}
        settled: dict[Family, Settled] = {}
        # Labels that have changed meanwhile are not the lines' any more, nor where they have changed back: some have both.
        ready = encoded.families if encoded is not None and encoded.base is self._base else {}
        try:
            for family, values in samples.items():
                if isinstance(values, MappingProxyType):
                    settled[family] = values
                    if stood.get(family) is values:
                        continue
                self._write(family, values, ready.get(family))
        except BaseException:  # half an observation is none: what would be left is of nobody knows when
            self._published = frozenset()
            for family in {*old, *samples}:
                self._remove(family)
            raise
        if samples.keys() != old:
            for family in old - samples.keys():
                self._remove(family)
            self._published = self._store.shared(frozenset(samples))
        self._settled = settled

    def published(self, only: Set[Family] | None = None) -> Iterator[tuple[Family, LabelValues, float]]:
        """Yield what `publish` has published, read back from its lines; of histograms nothing. It is for people.

        Args:
            only: Families that are wanted; all where nothing is said.
        """
        wanted = self._published if only is None else self._published & only
        for family in sorted(wanted, key=lambda family: family.name):
            shape = self._shape_of(family)
            if family.kind is not Kind.HISTOGRAM and shape is not None:
                lines = self._store.chunk(family, self._id)[:-1].split(b"\n")
                for labels, line in zip(shape, lines, strict=True):
                    yield family, labels, float(line.rpartition(b" ")[2])

    def relabel(self, labels: Mapping[str, str]) -> None:
        """Give every series other labels of the owner; their values stay."""
        before, self._base = self._base, label_pairs(labels.items())
        # No label value can hold the old text: it has quotes, and quotes in values are escaped.
        self._store.rewrite(self._id, f"{{{before}".encode(), f"{{{self._base}".encode())

    def move(self, store: Store) -> None:
        """Publish in another store from now on, what is published already included."""
        if store is not self._store:
            self._id, self._store = self._store.hand_over(self._id, store), store

    def put(self, family: Family, values: Mapping[LabelValues, float]) -> None:
        """Set one family's series outside observations; an empty mapping removes them."""
        if self._closed:
            return
        if values:
            self._write(family, values)
            self._put.add(family)
        else:
            self.drop(family)

    def drop(self, family: Family) -> None:
        """Withdraw a family that was `put`."""
        if family in self._put:
            self._put.discard(family)
            self._remove(family)

    def put_histograms(self, histograms: Iterable[Histogram]) -> None:
        """Set the series of a histogram family, one `Histogram` for each set of label values."""
        if self._closed:
            return
        by_family: dict[Family, list[bytes]] = {}
        for item in histograms:
            by_family.setdefault(item.family, []).append(item.encode(self._base))
        for family, chunks in by_family.items():
            self._store.block(family).chunks[self._id] = b"".join(chunks)
            self._put.add(family)

    def close(self) -> None:
        """Withdraw every series. Later writes, of runs that end late, are ignored."""
        self.publish({})
        for family in list(self._put):
            self.drop(family)
        self._closed = True

    def _write(self, family: Family, values: Mapping[LabelValues, float], ready: _Lines | None = None) -> None:
        if not values:
            self._remove(family)
            return
        chunks = self._store.block(family).chunks
        if len(values) == 1 and ready is None:  # most of all that is published
            old, ((labels, value),) = chunks.get(self._id), values.items()
            if old is not None and (self._shapes.get(family) == (labels,) if family.labels else not labels):
                end = value_end(value)
                if not old.endswith(end, 0, -1):
                    chunks[self._id] = b"%b%b\n" % (old[: old.rindex(b" ")], end)
                return
        shape, of_large, chunks[self._id] = ready or self._encoded(family, values)
        if of_large:
            self._values[family] = of_large
        elif self._values:
            self._values.pop(family, None)
        if family.labels and shape is not self._shapes.get(family):
            self._shapes[family] = self._store.shared(shape)

    def _encoded(self, family: Family, values: Mapping[LabelValues, float]) -> _Lines:
        """Return labels and lines. It only reads."""
        shape: Shape = tuple(values)
        of_large = tuple(values.values()) if len(values) > LARGE else ()
        old = self._store.chunk(family, self._id)
        known = self._shape_of(family) if old else None
        if known is not None and known == shape:  # nearly always the same series again, and many a value too
            before = self._values.get(family)
            if before is not None:
                return _Lines(known, of_large, _rewritten(old, before, of_large))
            lines = [
                line if line.endswith(end := value_end(value)) else line[: line.rindex(b" ")] + end
                for line, value in zip(old[:-1].split(b"\n"), values.values(), strict=True)
            ]
            return _Lines(known, of_large, b"\n".join(lines) + b"\n")
        reused = dict(zip(known, _prefixes(old), strict=True)) if known is not None else {}
        lines = [(reused.get(labels) or self._prefix(family, labels)) + value_end(value) for labels, value in values.items()]
        return _Lines(shape, of_large, b"\n".join(lines) + b"\n")

    def _shape_of(self, family: Family) -> Shape | None:
        """Return the labels that a family was written with last, in the order of its lines."""
        return self._shapes.get(family) if family.labels else _UNLABELLED

    def _prefix(self, family: Family, labels: LabelValues) -> bytes:
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} takes labels {family.labels}, got {labels!r}")
        name = family.name
        pairs = list(zip(family.labels, labels, strict=True))
        if family.kind is Kind.HISTOGRAM:
            whole = labels[-1] in {COUNT, SUM}
            name += f"_{pairs.pop()[1]}" if whole else "_bucket"
        return sample_prefix(name, ",".join(filter(None, (self._base, label_pairs(pairs)))))

    def _remove(self, family: Family) -> None:
        self._store.withdraw(family, self._id)
        self._shapes.pop(family, None)
        self._values.pop(family, None)


def _rewritten(chunk: bytes, before: tuple[float, ...], values: tuple[float, ...]) -> bytes:
    """Write values in place of others, where they are others."""
    if before == values:
        return chunk
    lines = chunk[:-1].split(b"\n")
    for at in compress(count(), map(ne, before, values)):
        line = lines[at]
        lines[at] = line[: line.rindex(b" ")] + value_end(values[at])
    return b"\n".join(lines) + b"\n"


def _prefixes(chunk: bytes) -> list[bytes]:
    """Return of each line what comes before its value: kept there, it need not be kept a second time."""
    return [line[: line.rindex(b" ")] for line in chunk[:-1].split(b"\n")]


class Histogram:
    """A classic histogram with fixed buckets, for one set of label values."""

    __slots__ = ("_counts", "_sum", "_template", "family", "labels")

    def __init__(self, family: Family, labels: LabelValues = ()) -> None:
        if family.kind is not Kind.HISTOGRAM:
            raise ValueError(f"{family.name} is not a histogram")
        self.family = family
        self.labels = labels
        self._counts = [0] * (len(family.buckets) + 1)
        self._sum = 0.0
        self._template: bytes | None = None

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count a value into its bucket: a bucket holds values up to and including its bound."""
        self._counts[bisect_left(self.family.buckets, value)] += 1
        self._sum += value

    def encode(self, base: str) -> bytes:
        """Write the lines of this histogram; `base` is the owner's encoded labels."""
        if self._template is None:
            self._template = self._make_template(base)
        cumulative = tuple(accumulate(self._counts))
        return self._template % (*cumulative, cumulative[-1], format_value(self._sum))

    def _make_template(self, base: str) -> bytes:
        """Prepare all lines but for their values: one formatting call then writes them, which every attempt does."""
        name = self.family.name
        own = label_pairs(zip(self.family.labels, self.labels, strict=True))
        labels = ",".join(filter(None, (base, own)))
        lines = []
        for bound in (*self.family.buckets, float("inf")):
            text = "+Inf" if bound == float("inf") else repr(float(bound))  # OpenMetrics wants canonical floats in le
            le = f'le="{text}"'
            lines.append((sample_prefix(f"{name}_bucket", ",".join(filter(None, (labels, le)))), b" %d"))
        lines += [(sample_prefix(f"{name}_count", labels), b" %d"), (sample_prefix(f"{name}_sum", labels), b" %b")]
        return b"".join(prefix.replace(b"%", b"%%") + value + b"\n" for prefix, value in lines)
