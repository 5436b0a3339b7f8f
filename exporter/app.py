"""The composition root: what the daemon is made of, how it starts, reloads and ends."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from exporter import __version__
from exporter.clients.kubernetes.access import ClusterAccess, own_namespace
from exporter.clients.kubernetes.api import Api
from exporter.config.cleartext import cleartext_credentials
from exporter.config.errors import ConfigError, Problem
from exporter.config.exposed import exposed_secrets
from exporter.config.kubernetes import ClusterSettings
from exporter.config.loader import load
from exporter.config.models import Config
from exporter.config.server import overlap
from exporter.engine.diagnosis_views import IncidentView
from exporter.engine.engine import Engine
from exporter.engine.memory import data_limit, memory_limit
from exporter.engine.ownership import Everything, Ownership
from exporter.engine.probed_view import ProbedView, probed_view
from exporter.engine.process import watch_process
from exporter.engine.scheduler import FIRST_WITHIN
from exporter.engine.state_file import EVERY, StateFile, Unwritten
from exporter.engine.target import TargetState
from exporter.engine.views import About, FleetView, Neighbours, ServiceView, SharingView, TargetView
from exporter.metrics import core as m
from exporter.metrics.store import Store
from exporter.net.descriptors import raise_limit
from exporter.net.pool import started_pool
from exporter.ownership.election import Role
from exporter.ownership.sharing import Fleet, Sharing, shard_index
from exporter.probing.probe import SharedClients
from exporter.unforeseen import Where
from exporter.values import Address
from exporter.verdict import Verdict
from exporter.web.access import Access
from exporter.web.access.follow import FollowedFile
from exporter.web.access.gate import Turned
from exporter.web.backend import UnknownTarget
from exporter.web.guard import Closed
from exporter.web.limits import ServerLimits
from exporter.web.server import serve, serve_health

__all__ = ["App", "EssentialTaskEnded", "WebOptions"]

log = logging.getLogger(__name__)


_GC_THRESHOLDS = (5_000, 20, 50)
"""Most of what attempts make is freed without the garbage collector. A full collection walks all that lives and holds the
loop up, so it is to be rare; cycles of attempts die young, and are found by the small ones."""


_THREADS = 8
"""Threads for what would hold the loop up: more would only wait for each other, since most of it is Python."""


TAKE_OVER_WITHIN = 3.0
"""Seconds within which an exporter that takes over has begun to probe all: nobody has since the one before it ended."""


MOST_NAMED = 50
"""Names that a refusal lists."""

STATE_PATIENCE = 10.0
"""Seconds that a read or a write of the history is waited for."""

T = TypeVar("T")


class EssentialTaskEnded(RuntimeError):  # noqa: N818 - it says what happened
    """A task without which the exporter would export frozen values has ended."""


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What the command line says of the endpoints, in the words of Prometheus and its exporters.

    Attributes:
        config_file: Web configuration file: TLS, users. Without it all are let in, over plain HTTP.
        lifecycle: Whether the configuration may be reloaded over HTTP.
        log_dropped: Returns how many lines of the log could not be written.
    """

    config_file: Path | None = None
    lifecycle: bool = False
    log_dropped: Callable[[], int] = lambda: 0


class App:
    """The daemon: owns everything, and is what the web server asks.

    Args:
        config_path: Where the configuration is read from, now and at each reload.
        config: The configuration read at the start.
        listen: Listen here instead of where the configuration says.
        web: What the command line says of the endpoints.
    """

    def __init__(
        self, config_path: Path, config: Config, listen: Address | None = None, web: WebOptions | None = None
    ) -> None:
        self._path = config_path
        self._web = web or WebOptions()
        self._way: FollowedFile | None = None
        self._refused = Counter({why.value: 0 for why in Turned})
        self._closed = Counter({why.value: 0 for why in Closed})
        self._on_demand: set[asyncio.Task[Any]] = set()
        self._config = config
        self._listen = listen or config.server.listen
        before, limit = raise_limit()
        log.info("%d file descriptors may be open (%d before the start)", limit, before)
        self._clients = ServerLimits().within(limit, data_limit(), memory_limit())
        log.info("clients may hold %d connections", self._clients.connections)
        self._store = Store()
        self._shared = SharedClients.open()
        self._engine = Engine(self._store, self._shared, config.limits)
        self._own = self._store.owner({})
        self._state_file = StateFile(config.server.state_file) if config.server.state_file is not None else None
        self._namespace = "default"
        self._sharing = Sharing(self._store, self._open_api, self._shared.http, self._shared.resolver, self._take_part)
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._loaded_at = time.time()
        self._error: str | None = None
        self._running = False
        self._was_ready = False
        self._parts_taken = 0
        self._taken: tuple[Ownership | None, bool] | None = None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            ConfigError: The configuration cannot be put to use.
            OSError: The address cannot be listened on, or threads cannot be started.
            EssentialTaskEnded: A task ended that must not; the process should end with an error.
        """
        self._note_load()
        gc.collect()  # before anything waits for the loop, and while there is little to walk
        gc.set_threshold(*_GC_THRESHOLDS)
        asyncio.get_running_loop().set_default_executor(started_pool(_THREADS, "work"))
        asyncio.get_running_loop().set_exception_handler(self._engine.defects.handle)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._shared.close)
            stack.push_async_callback(self._engine.close)
            self._way = await self._open_way()
            await self._check(self._config)
            await self._restore()
            self._configure(self._config)
            await self._open_doors(stack)
            self._signals()
            await self._run_tasks()
            await self._sharing.release()
            cancelled, _ = await asyncio.gather(
                self._engine.drain(self._config.server.drain_timeout), self._answer_those_who_wait()
            )
            await self._write_state()
            log.info("stopped; %d runs cancelled at the drain deadline", cancelled)

    async def _restore(self) -> None:
        """Take in the history that was kept. A disk that hangs is not waited for."""
        if self._state_file is None:
            return
        try:
            async with asyncio.timeout(STATE_PATIENCE):
                self._engine.restore(await self._state_file.load())
        except TimeoutError:
            path = self._config.server.state_file
            log.warning("%s could not be read within %g s: the history begins anew", path, STATE_PATIENCE)
        except Exception as error:  # a comfort, for which probing is not to end
            self._engine.defects.note(Where.HISTORY, "the history could not be read", error)

    async def _keep_state(self) -> None:
        """Write the history down every minute, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self._write_state()

    async def _write_state(self) -> None:
        state_file = self._state_file
        if state_file is None:
            return
        try:
            async with asyncio.timeout(STATE_PATIENCE):
                await state_file.write(await self._engine.dump())
        except (Unwritten, TimeoutError) as error:
            log.warning("the history could not be written to %s: %s", state_file.path, str(error) or "it hangs")
            written = False
        except Exception as error:
            self._engine.defects.note(Where.HISTORY, "the history could not be written", error)
            written = False
        else:
            written = True
        if self._state_file is state_file:  # a reload may have named another meanwhile
            self._own.put(m.STATE_OK, {(): float(written)})

    def _move_state(self, path: Path | None) -> None:
        """Keep the history in another file from now on, or in none; what is remembered stays."""
        before = self._state_file
        if (before.path if before is not None else None) == path:
            return
        if before is not None:
            before.close()
            log.info("the history is not written to %s any more", before.path)
        self._state_file = StateFile(path) if path is not None else None
        if path is None:
            self._own.put(m.STATE_OK, {})

    async def _open_way(self) -> FollowedFile | None:
        if self._web.config_file is None:
            return None
        self._own.put(m.WEB_RELOAD_OK, {(): 1.0})
        path = self._web.config_file

        def told(ok: bool) -> None:
            self._own.put(m.WEB_RELOAD_OK, {(): float(ok)})

        return await asyncio.to_thread(FollowedFile, path, told, self._web_defect)

    def _web_defect(self, what: str, error: Exception) -> None:
        self._engine.defects.note(Where.WEB, what, error)

    async def _open_doors(self, stack: AsyncExitStack) -> None:
        way = self._way
        access = Access(
            way=lambda: way.way if way is not None else None,
            server=lambda: self._config.server,
            turned=partial(_count, self._refused),
            closed=partial(_count, self._closed),
            defect=self._web_defect,
            lifecycle=self._web.lifecycle,
        )
        if way is not None:
            following = asyncio.create_task(way.follow(), name="web configuration")
            stack.push_async_callback(_end, following)
        health = self._config.server.health_listen
        if health is not None and overlap(health, self._listen):
            raise OSError(errno.EADDRINUSE, f"cannot listen on {health}: the endpoints listen there, too")
        await stack.enter_async_context(serve(self, self._listen, self._clients, access))
        spoken = "HTTPS" if way is not None and way.way.tls is not None else "HTTP"
        log.info("listening on %s: %s", self._listen, spoken)
        if health is not None:
            await stack.enter_async_context(serve_health(self, health, self._clients, defect=self._web_defect))
            log.info("listening on %s: health alone", health)

    async def _answer_those_who_wait(self) -> None:
        """Let runs on demand end, so that who asked for them is answered."""
        if self._on_demand:
            await asyncio.wait(self._on_demand, timeout=self._config.server.drain_timeout)
            await asyncio.sleep(0)  # for the answers to be on their way before the server ends

    async def _run_tasks(self) -> None:
        """Run the essential tasks until asked to stop; the end of any one ends them all."""
        ended: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                essential = self._engine.tasks() | {
                    "process metrics": watch_process(self._store, self._engine.lag),
                    "reloads": self._reload_on_signal(),
                    "sharing": self._sharing.run(),
                    "history": self._keep_state(),
                }
                tasks = [group.create_task(_essential(name, work), name=name) for name, work in essential.items()]
                self._running = True
                await self._stop.wait()
                self._running = False
                self._sharing.give_up()
                for task in tasks:
                    task.cancel()
        except* EssentialTaskEnded as group_error:
            self._running = False
            ended = group_error.exceptions[0]
        if ended is not None:  # raised in the block above, Python 3.11.2 would put it into a group once more
            raise ended from ended.__cause__

    async def _check(self, config: Config) -> None:
        """Find out whether a configuration can be put to use; nothing is changed.

        Raises:
            ConfigError: It cannot.
        """
        if config.sharing is not None and config.sharing.shards is not None:
            try:
                shard_index(config.sharing.shards, self._sharing.host)
            except ValueError as error:
                raise ConfigError([Problem(str(self._path), 0, 0, "sharing.shards", str(error))]) from error
        if config.server.roles.given and not self._knows_clients():
            text = "needs --web.config.file with basic_auth_users, or with client certificates that are required"
            raise ConfigError([Problem(str(self._path), 0, 0, "server.roles", text)])
        await self._engine.check(config)
        told = [config] if self._way is None else [config, self._way.way.config]
        for warning in await asyncio.to_thread(lambda: [text for each in told for text in exposed_secrets(each)]):
            log.warning("%s", warning)
        for warning in cleartext_credentials(config):
            log.warning("%s", warning)
        if config.sharing is not None and config.sharing.lease is not None:
            cluster = _cluster(config)
            self._namespace = cluster.namespace or await asyncio.to_thread(own_namespace, cluster) or "default"

    def _knows_clients(self) -> bool:
        return self._way is not None and self._way.way.config.authenticates

    def _configure(self, config: Config) -> None:
        fleet = Fleet({name: each.needs for name, each in config.everything.items()}, tuple(config.dependencies))
        self._sharing.configure(config.sharing, _cluster(config), self._namespace, fleet)
        self._take_part()
        self._engine.configure(config)

    def _take_part(self) -> None:
        """Have the engine probe what is this exporter's. One that takes over asks all soon: nobody has for a while."""
        owner, part = self._sharing.owner, self._sharing.part
        taken = owner, part is not None and part.role is Role.FOLLOWING
        if taken != self._taken:
            self._taken = taken
            by_lease = part is not None and part.kind == "lease"
            self._engine.own(owner or Everything(), TAKE_OVER_WITHIN if by_lease else FIRST_WITHIN)
        self._parts_taken += 1
        self._sharing.publish()

    def _open_api(self, access: ClusterAccess, namespace: str) -> Api:
        return self._shared.clusters.of(access, namespace).api

    def stop(self) -> None:
        """Ask the daemon to end."""
        self._stop.set()

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one may have come while it started

    async def _reload_on_signal(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self.reload()

    # What the web server asks.

    async def reload(self) -> list[str]:
        """Read the file anew and swap it in whole; on any error keep what runs and return the errors."""
        async with self._reloading:
            try:
                config = await asyncio.to_thread(load, self._path)
                await self._check(config)
            except ConfigError as error:
                log.error("reload failed, keeping the old configuration:\n%s", error)  # noqa: TRY400 - the operator's error
                if error.unforeseen:
                    self._engine.defects.count(Where.RELOAD)
                return self._refuse(str(error), [str(problem) for problem in error.problems])
            except Exception as error:
                self._engine.defects.note(Where.RELOAD, "a reload failed; the old configuration is kept", error)
                text = f"{self._path}: a defect of the exporter ({type(error).__name__}) ended the reload; its log says more"
                return self._refuse(text, [text])
            self._configure(config)
            await self._engine.settled()
            if _addresses(config) != _addresses(self._config):
                log.warning("changes of server.listen and server.health_listen take effect at the next start")
            self._move_state(config.server.state_file)
            self._config = config
            self._loaded_at = time.time()
            self._error = None
            self._note_load()
            log.info("configuration reloaded")
            return []

    def _refuse(self, text: str, errors: list[str]) -> list[str]:
        self._error = text
        self._own.put(m.RELOAD_OK, {(): 0.0})
        return errors

    @property
    def edition(self) -> Hashable:
        """What differs as soon as a verdict, a reason or the configuration is another."""
        return self._engine.changes, self._loaded_at, self._error, self._parts_taken

    def about(self) -> About:
        """Return what is told of the exporter itself."""
        return About(**self._about())

    async def fleet(self) -> FleetView:
        """Return what people see first: each service with its worst targets."""
        services = await self._engine.views()
        return FleetView(**self._about(), services=services)

    def names(self) -> list[str]:
        """Return the names of services and dependencies."""
        return self._engine.names

    def kinds(self, service: str | None) -> list[str]:
        """Return the kinds of the probes that a service has, or that there are."""
        return self._engine.kinds(service)

    async def service(self, name: str, most: int) -> ServiceView | None:
        """Return one service with so many of its targets, or None where there is none of that name."""
        return await self._engine.view(name, most)

    def incidents(self) -> list[IncidentView]:
        """Return every incident, the oldest first."""
        return self._engine.incident_views()

    def neighbours(self, name: str) -> Neighbours:
        """Return what a service needs and what needs it."""
        return self._engine.neighbours(name)

    def targets(self, service: str | None, probe: str | None, verdict: Verdict | None) -> Iterator[TargetView]:
        """Make the views of the targets that are asked for, one by one."""
        return self._engine.target_views(service, probe, verdict)

    @property
    def exports(self) -> bool:
        """Whether verdicts may be exported at this very moment."""
        return self._sharing.exports

    def parts(self, *, openmetrics: bool, of_services: bool = True) -> list[bytes]:
        """Return the exposition, in parts to be joined."""
        self._sharing.publish()
        self._own.put(m.REFUSED, {(why,): float(number) for why, number in self._refused.items()})
        self._own.put(m.CLOSED, {(why,): float(number) for why, number in self._closed.items()})
        self._own.put(m.TIME, {(): time.time()})
        self._own.put(m.LOG_DROPPED, {(): float(self._web.log_dropped())})
        self._tell_certificate()
        return self._store.parts(openmetrics=openmetrics, of_services=of_services)

    def _tell_certificate(self) -> None:
        validity = self._way.way.validity if self._way is not None else None
        self._own.put(m.WEB_CERTIFICATE_FROM, {(): validity.begins} if validity is not None else {})
        self._own.put(m.WEB_CERTIFICATE_TO, {(): validity.ends} if validity is not None else {})

    def to_others(self) -> Mapping[str, object] | None:
        """Return what other exporters are told that share a lease."""
        return self._sharing.to_others

    def ready(self) -> str | None:
        """Return why the exporter is not ready, or None.

        Ready means that each target of the start has been probed once; instances that come later change nothing of it.
        """
        waiting = 0 if self._was_ready else self._engine.unprobed
        if waiting:
            return f"{waiting} targets have not been probed yet"
        self._was_ready = self._running
        return self.healthy()

    def healthy(self) -> str | None:
        """Return why the exporter is not healthy, or None."""
        return None if self._running else "the exporter is starting or stopping"

    async def probe(self, service: str, probe: str, target: str | None) -> bytes:
        """Run configured targets now and return their exposition.

        Raises:
            UnknownTarget: Nothing like it is configured.
        """
        state = self._target(service, probe, target)
        return await self._on_demand_run(self._engine.run_on_demand(state))

    async def probe_now(self, service: str, probe: str, target: str | None) -> ProbedView:
        """Run a configured target now and return what it came to.

        Raises:
            UnknownTarget: Nothing like it is configured.
        """
        state = self._target(service, probe, target)
        return probed_view(state, await self._on_demand_run(self._engine.attempt_on_demand(state)))

    def _target(self, service: str, probe: str, target: str | None) -> TargetState:
        states = self._engine.find(service, probe, target)
        if not states:
            known = [f"{name}/{kind}" for name, kind in self._engine.known()]
            mine = "this exporter probes" if self._sharing.part is not None else "configured"
            raise UnknownTarget(f"no such target; {mine}: {_some(known)}")
        if len(states) > 1:
            raise UnknownTarget(f"choose one with target=: {_some([state.target.name for state in states])}")
        return states[0]

    async def _on_demand_run(self, work: Coroutine[Any, Any, T]) -> T:
        run = asyncio.create_task(work, name="probe on demand")
        self._on_demand.add(run)
        run.add_done_callback(self._on_demand.discard)
        try:
            return await run
        except asyncio.CancelledError:
            run.cancel()
            raise

    def observe_scrape(self, seconds: float, size: int) -> None:
        """Note what a scrape cost."""
        self._own.put(m.SCRAPE_DURATION, {(): seconds})
        self._own.put(m.SCRAPE_SIZE, {(): float(size)})

    def _about(self) -> dict[str, Any]:
        part = self._sharing.part
        return {
            "generated_at": time.time(),
            "version": __version__,
            "config_loaded_at": self._loaded_at,
            "config_error": self._error,
            "runbook": self._config.links.runbook,
            "dashboard": self._config.links.dashboard,
            "prober": self._engine.prober(),
            "sharing": SharingView(**asdict(part)) if part is not None else None,
        }

    def _note_load(self) -> None:
        self._own.put(m.RELOAD_OK, {(): 1.0})
        self._own.put(m.RELOAD_TIME, {(): self._loaded_at})


def _some(names: list[str]) -> str:
    """List names; of thousands the first, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (", ".join(names[:MOST_NAMED]) or "nothing") + more


def _addresses(config: Config) -> tuple[Address, Address | None]:
    return config.server.listen, config.server.health_listen


def _count(counter: Counter[str], why: Turned | Closed) -> None:
    counter[why.value] += 1


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _cluster(config: Config) -> ClusterSettings:
    return config.kubernetes or ClusterSettings()


async def _essential(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run a task that must not end."""
    try:
        await work
    except Exception as error:
        raise EssentialTaskEnded(f"essential task {name!r} failed: {type(error).__name__}: {error}") from error
    raise EssentialTaskEnded(f"essential task {name!r} ended")
