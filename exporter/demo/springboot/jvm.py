"""What a JVM tells of itself: memory by pool, garbage collection, threads, files, disk, its process."""

from __future__ import annotations

import os
import random
import resource
import shutil
import time
from collections.abc import Iterator, Set

from exporter.demo.springboot.meters import Kind, Meter, Timer

__all__ = ["Jvm"]

MIB = 1024.0 * 1024.0
HEAP_MAX = 256.0 * MIB
_HEAP_BASE, _HEAP_COLLECTED = 60.0 * MIB, 120.0 * MIB
_FULL = 0.97
_NO_LIMIT = -1.0
_CODE = "CodeHeap 'profiled nmethods'"
_NONHEAP = (
    (_CODE, 14.0 * MIB, 16.0 * MIB, 117.0 * MIB),
    ("Metaspace", 70.0 * MIB, 71.0 * MIB, _NO_LIMIT),
    ("Compressed Class Space", 9.0 * MIB, 9.5 * MIB, 1024.0 * MIB),
)


class Jvm:
    """A G1 heap that fills with requests and is collected; full and busy collecting under the fault `heap-full`.

    Args:
        faults: What is wrong with the service; looked at each time.
    """

    def __init__(self, faults: Set[str]) -> None:
        self.started = time.time()
        self._faults = faults
        self._heap = _HEAP_BASE
        self._minor, self._major = Timer(), Timer()

    def allocate(self) -> None:
        """Serve a request: objects come, and from time to time a collection."""
        self._heap += random.uniform(0.5, 1.5) * MIB
        if self._heap > _HEAP_COLLECTED:
            self._minor.record(random.uniform(0.003, 0.012))
            self._heap = _HEAP_BASE
        if "heap-full" in self._faults:
            self._major.record(random.uniform(0.25, 0.35))

    def meters(self) -> Iterator[Meter]:
        """Tell what Micrometer's JVM, process and disk binders tell."""
        yield from self._memory()
        for timer, action, cause, collector in (
            (self._minor, "end of minor GC", "G1 Evacuation Pause", "G1 Young Generation"),
            (self._major, "end of major GC", "G1 Compaction Pause", "G1 Old Generation"),
        ):
            if timer.count or timer is self._minor:
                why = (("action", action), ("cause", cause), ("gc", collector))
                yield Meter("jvm.gc.pause", Kind.TIMER, timer, why, description="Time spent in GC pause")
        yield from self._process()

    def _memory(self) -> Iterator[Meter]:
        full = "heap-full" in self._faults
        heap = _FULL * HEAP_MAX if full else self._heap
        committed = HEAP_MAX if full else 160.0 * MIB
        pools = (
            *(("heap", name, share * heap, share * committed, limit) for name, share, limit in (
                ("G1 Eden Space", 0.5, _NO_LIMIT), ("G1 Survivor Space", 0.05, _NO_LIMIT), ("G1 Old Gen", 0.45, HEAP_MAX),
            )),
            *(("nonheap", *pool) for pool in _NONHEAP),
        )  # fmt: skip
        for area, name, used, held, limit in pools:
            tags = (("area", area), ("id", name))
            yield Meter("jvm.memory.used", Kind.GAUGE, used, tags, "bytes", "The amount of used memory")
            text = "The amount of memory in bytes that is committed for the Java virtual machine to use"
            yield Meter("jvm.memory.committed", Kind.GAUGE, held, tags, "bytes", text)
            text = "The maximum amount of memory in bytes that can be used for memory management"
            yield Meter("jvm.memory.max", Kind.GAUGE, limit, tags, "bytes", text)

    def _process(self) -> Iterator[Meter]:
        up, disk = time.time() - self.started, shutil.disk_usage("/")
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, at every scrape
        text = "The uptime of the Java virtual machine"
        yield Meter("process.uptime", Kind.GAUGE, up, unit="seconds", description=text)
        text = "Start time of the process since unix epoch."
        yield Meter("process.start.time", Kind.GAUGE, self.started, unit="seconds", description=text)
        yield Meter("process.files.open", Kind.GAUGE, files, unit="files", description="The open file descriptor count")
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield Meter("process.files.max", Kind.GAUGE, limit, unit="files", description="The maximum file descriptor count")
        text = "The current number of live threads including both daemon and non-daemon threads"
        yield Meter("jvm.threads.live", Kind.GAUGE, 42, unit="threads", description=text)
        path = (("path", "/app/."),)
        yield Meter("disk.free", Kind.GAUGE, disk.free, path, "bytes", "Usable space for path")
        yield Meter("disk.total", Kind.GAUGE, disk.total, path, "bytes", "Total space for path")
