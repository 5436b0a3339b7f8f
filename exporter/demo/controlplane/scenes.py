"""What each behaviour makes of a pod, step by step: changes of its status, and the time between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from exporter.demo.controlplane.behaviour import Behaviour, State
from exporter.demo.controlplane.status import Container, PodStatus

__all__ = ["play"]

Write = Callable[[], Awaitable[None]]
"""Tell the API server how the pod is now."""

_OOM = 137
"""128 + SIGKILL."""


async def play(pod: PodStatus, behaviour: Behaviour, oom_kills: int, write: Write) -> None:
    """Play one pod until nothing more happens to it, or until it is cancelled to play something else.

    Args:
        pod: Changed in place; it goes on from what it is.
        behaviour: What to play.
        oom_kills: How many of its kills for want of memory are still to come.
        write: Called after each step.
    """
    star = next((one for one in pod.containers if one.name == behaviour.container), pod.containers[0])
    match behaviour.state:
        case State.RUNNING:
            await _run(pod, behaviour, write)
            for _ in range(oom_kills):
                star.restart_at_once("OOMKilled", _OOM, behaviour.message)
                await write()
        case State.NOT_READY:
            _start(pod, ready=False)
            await write()
        case State.CREATING:
            await write()
        case State.CRASH_LOOP | State.OOM_LOOP:
            await _loop(pod, star, behaviour, write)
        case State.IMAGE_PULL:
            await _pull(pod, star, behaviour, write)
        case State.CONFIG_ERROR:
            _start(pod, ready=True, but=star)
            star.wait("CreateContainerConfigError", behaviour.message or 'secret "credentials" not found')
            await write()
        case State.SUCCEEDED | State.FAILED | State.EVICTED:
            await _end(pod, behaviour, write)


async def _run(pod: PodStatus, behaviour: Behaviour, write: Write) -> None:
    if pod.phase == "Running" and pod.ready:
        return
    if behaviour.ready_after:
        _start(pod, ready=False)
        await write()
        await asyncio.sleep(behaviour.ready_after)
    _start(pod, ready=True)
    await write()


async def _loop(pod: PodStatus, star: Container, behaviour: Behaviour, write: Write) -> None:
    oom = behaviour.state is State.OOM_LOOP
    reason, code = ("OOMKilled", _OOM) if oom else ("Error", behaviour.exit_code)
    while True:
        star.run(ready=False)
        _start(pod, ready=True, but=star)
        await write()
        await asyncio.sleep(behaviour.lives)
        star.end(reason, code, behaviour.message)
        await write()
        star.wait("CrashLoopBackOff", f"back-off {behaviour.backoff:g}s restarting failed container={star.name}")
        await write()
        await asyncio.sleep(behaviour.backoff)


async def _pull(pod: PodStatus, star: Container, behaviour: Behaviour, write: Write) -> None:
    _start(pod, ready=True, but=star)
    star.wait("ErrImagePull", behaviour.message or f'failed to pull and unpack image "{star.image}": not found')
    await write()
    await asyncio.sleep(0.2)
    star.wait("ImagePullBackOff", f'Back-off pulling image "{star.image}": {behaviour.message or "ErrImagePull"}')
    await write()


async def _end(pod: PodStatus, behaviour: Behaviour, write: Write) -> None:
    _start(pod, ready=True)
    await write()
    well = behaviour.state is State.SUCCEEDED
    for container in pod.containers:
        container.end("Completed" if well else "Error", 0 if well else behaviour.exit_code, behaviour.message)
    pod.phase = "Succeeded" if well else "Failed"
    if behaviour.state is State.EVICTED:
        pod.reason, pod.message = "Evicted", "The node was low on resource: memory."
    await write()


def _start(pod: PodStatus, *, ready: bool, but: Container | None = None) -> None:
    """Run all containers but one; a pod of which no container ever ran is pending."""
    for container in pod.containers:
        if container is not but:
            container.run(ready=ready)
    pod.phase = "Running" if but is None or but.started or len(pod.containers) > 1 else "Pending"
