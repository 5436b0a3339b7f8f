"""An API server of many pods, in a process of its own: lists in pages, real watches, changes at a rate.

    python -m bench.apiserver PORT [--pods N] [--services N] [--certificate FILE]

`POST /churn?rate=R` has pods change R times a second from then on: their readiness mostly, and a container that is restarted
or a pod that is replaced where the mix says so. `POST /compact` breaks every watch off and makes all older versions too old.
`GET /told` says how many events there were, and bytes of them, and how often pods were listed, in pages, and watched.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import click
import uvloop

from bench.pods import NAMESPACE, SimulatedPod

__all__ = ["PODS"]

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"

_TICK = 0.01
"""Seconds between two bursts of changes: at 100 a second each comes alone."""

_BOOKMARKS = 60.0

_BURST = 50.0
"""Changes that are made up for at once, where this process was kept waiting: more would keep all others waiting."""

_KEPT = 2000
"""Events that are kept for those who come back."""

MIXES = {"status": "rrrrrrrrrs", "all": "rrsrxrrsrx"}
"""What changes come to: r readiness, s a restart, x another pod in its place."""


class Cluster:
    """The pods, their history, and who watches."""

    def __init__(self, pods: int, services: int) -> None:
        self.services = services
        self.version = 1_000_000
        self.oldest = 0
        self.told = {"events": 0, "bytes": 0, "lists": 0, "pages": 0, "watches": 0}
        self.watchers: set[Connection] = set()
        self._pods = [SimulatedPod(number, services) for number in range(pods)]
        self._versions = [self.version] * pods
        self._history: list[tuple[int, bytes]] = []
        self._pages: dict[int, list[str]] = {}
        self._churning: asyncio.Task[None] | None = None

    def answer(self, method: str, path: str, query: dict[str, str]) -> tuple[int, str]:
        """Answer everything but a watch."""
        if path == PODS:
            return self._list(query)
        if path == _DEPLOYMENTS:
            return 200, self._deployments()
        if path == "/told":
            return 200, json.dumps(self.told)
        if method == "POST" and path == "/churn":
            self._churn(float(query["rate"]), MIXES[query.get("mix", "status")])
        if method == "POST" and path == "/compact":
            self._compact()
        if path.startswith("/apis/metrics.k8s.io/"):
            return 404, _status(404, "NotFound")
        return 200, json.dumps({"metadata": {"resourceVersion": str(self.version)}, "items": []})

    def since(self, version: int) -> bytes | None:
        """Return the events after a version, as lines; None where it is too old."""
        self.told["watches"] += 1
        if version < self.oldest:
            return None
        return b"".join(line for at, line in self._history if at > version)

    async def bookmark(self) -> None:
        """Send bookmarks for ever."""
        while True:
            await asyncio.sleep(_BOOKMARKS)
            metadata = {"resourceVersion": str(self.version)}
            line = json.dumps({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": metadata}}).encode() + b"\n"
            for each in self.watchers:
                each.send(line)

    def _list(self, query: dict[str, str]) -> tuple[int, str]:
        version, start = self.version, 0
        self.told["pages"] += 1
        if "continue" in query:
            version, start = json.loads(base64.b64decode(query["continue"]))
            if version not in self._pages:
                return 410, _status(410, "Expired")
        else:
            self.told["lists"] += 1
            self._pages[version] = [pod.written(at) for pod, at in zip(self._pods, self._versions, strict=True)]
        items, limit = self._pages[version], int(query.get("limit", "0")) or len(self._pods)
        metadata = {"resourceVersion": str(version)}
        if start + limit < len(items):
            metadata["continue"] = base64.b64encode(json.dumps([version, start + limit]).encode()).decode()
        else:
            del self._pages[version]
        head = f'{{"kind":"PodList","apiVersion":"v1","metadata":{json.dumps(metadata)},"items":['
        return 200, head + ",".join(items[start : start + limit]) + "]}"

    def _deployments(self) -> str:
        items = []
        for number in range(self.services):
            name, count = f"service-{number}", len(range(number, len(self._pods), self.services))
            status = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
            items.append({
                "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"deployment-{number}", "generation": 1},
                "spec": {"replicas": count, "template": {"metadata": {"labels": {"app": name, "tier": "backend"}}}},
                "status": {"observedGeneration": 1, **status},
            })  # fmt: skip
        return json.dumps({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    def _compact(self) -> None:
        self.version += 1
        self.oldest = self.version
        self._history.clear()
        self._pages.clear()
        for each in list(self.watchers):
            each.abort()

    def _churn(self, rate: float, mix: str) -> None:
        if self._churning is not None:
            self._churning.cancel()
        self._churning = asyncio.get_running_loop().create_task(self._change_for_ever(rate, mix)) if rate else None

    async def _change_for_ever(self, rate: float, mix: str) -> None:
        loop = asyncio.get_running_loop()
        turns = zip(itertools.count(), itertools.cycle(mix), strict=False)
        due, then = 0.0, loop.time()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            due, then = min(_BURST, due + (now - then) * rate), now
            while due >= 1:
                due -= 1
                number, what = next(turns)
                self._change(number * 7919 % len(self._pods), what)  # neighbours in time are of different services

    def _change(self, number: int, what: str) -> None:
        pod = self._pods[number]
        if what == "r":
            self._write("MODIFIED", pod.flipped())
        elif what == "s":
            self._write("MODIFIED", pod.restarted())
        else:
            self._tell("DELETED", pod)
            self._write("ADDED", pod.replaced())

    def _write(self, kind: str, pod: SimulatedPod) -> None:
        self._pods[pod.number] = pod
        self._tell(kind, pod)
        self._versions[pod.number] = self.version

    def _tell(self, kind: str, pod: SimulatedPod) -> None:
        self.version += 1
        line = f'{{"type":"{kind}","object":{pod.written(self.version)}}}\n'.encode()
        self._history.append((self.version, line))
        if len(self._history) > _KEPT:
            del self._history[:-_KEPT]
            self.oldest = max(self.oldest, self._history[0][0] - 1)
        self.told["events"] += 1
        self.told["bytes"] += len(line)
        for each in self.watchers:
            each.send(line)


class Connection(asyncio.Protocol):
    """Answers the requests of a connection."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        """Send it nothing more."""
        self._cluster.watchers.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer each whole request; none has a body."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            method, url, _ = head.decode().split("\r\n", 1)[0].split(" ")
            parts = urlsplit(url)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            if "watch" in query:
                self._watch(parts.path, query)
            else:
                self._answer(*self._cluster.answer(method, parts.path, query))

    def send(self, lines: bytes) -> None:
        """Send lines of a watch as one chunk."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(lines), lines))

    def abort(self) -> None:
        """Break off."""
        self._transport.abort()

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    def _watch(self, path: str, query: dict[str, str]) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        if path == PODS:
            lines = self._cluster.since(int(query["resourceVersion"]))
            if lines is None:
                self.send(f'{{"type":"ERROR","object":{_status(410, "Expired")}}}\n'.encode())
                self._transport.write(b"0\r\n\r\n")
                return
            if lines:
                self.send(lines)
            self._cluster.watchers.add(self)


def _status(code: int, reason: str) -> str:
    return json.dumps({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason})


async def _serve(port: int, cluster: Cluster, certificate: Path | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Connection(cluster), "127.0.0.1", port, ssl=context)
    with suppress(asyncio.CancelledError):
        await cluster.bookmark()


@click.command()
@click.argument("port", type=int)
@click.option("--pods", default=5000, show_default=True)
@click.option("--services", default=50, show_default=True)
@click.option("--certificate", type=Path, help="Its chain and key, PEM; without it, it speaks HTTP.")
def main(port: int, pods: int, services: int, certificate: Path | None) -> None:
    """Listen until killed."""
    uvloop.run(_serve(port, Cluster(pods, services), certificate))


if __name__ == "__main__":
    main()
