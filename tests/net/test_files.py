"""Files on a file system that hangs, in whose place a read stands that waits."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from exporter.auth.secrets import current_secret
from exporter.net.files import read_aside, read_within
from exporter.verdict import Failure

_MORE_THAN_ASYNCIOS_THREADS = 40


async def test_a_secret_that_hangs_takes_no_thread_from_others_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, back = tmp_path / "password", threading.Event()

    def hang(_: Path) -> str:
        back.wait(60)
        return "came back"

    monkeypatch.setattr("exporter.auth.secrets.read_secret", hang)
    for _ in range(_MORE_THAN_ASYNCIOS_THREADS):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await current_secret(None, file)
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(lambda: "free") == "free"
        assert len([each for each in threading.enumerate() if str(file) in each.name]) == 1
        waiting = asyncio.create_task(current_secret(None, file))
        await asyncio.sleep(0)  # it has joined the one that hangs
        back.set()
        assert await waiting == "came back"


async def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    for secret in ("one", "two"):
        file.write_text(secret)
        assert await current_secret(None, file) == secret


async def test_whoever_asks_meanwhile_has_the_same_answer_and_one_who_leaves_takes_nothing_from_the_others() -> None:
    release, reads = threading.Event(), []

    def read() -> str:
        reads.append(1)
        release.wait(20)
        return "said"

    waiting = [asyncio.create_task(read_aside("file", read)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    release.set()
    assert await asyncio.gather(*waiting[1:]) == ["said", "said"]
    assert len(reads) == 1


async def test_what_reading_raises_is_raised(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Failure, match="No such file"):
            await current_secret(None, tmp_path / "missing")


async def test_where_no_thread_can_be_started_the_next_one_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("secret")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Failure, match="can't start new thread"):
            await current_secret(None, file)
    assert await current_secret(None, file) == "secret"


async def test_a_read_that_stops_an_iteration_leaves_nobody_waiting() -> None:
    def read() -> str:
        raise StopIteration

    async with asyncio.timeout(20):
        with pytest.raises(RuntimeError):
            await read_aside("stops", read)


def test_without_a_loop_it_is_waited_for_only_so_long() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        read_within(0.05, "hangs", lambda: release.wait(20))
    release.set()
    assert read_within(20, "answers", lambda: "said") == "said"
