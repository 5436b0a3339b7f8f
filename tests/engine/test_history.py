"""The history: bounded, right at its edges, and over a restart."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.engine import state_file
from exporter.engine.history import BYTES, MOST_FAILURES, WINDOWS, History, Window
from exporter.engine.history_views import history_view
from exporter.engine.state_file import StateFile, Unwritten
from exporter.verdict import Reason, Stage, Verdict
from tests.waiting import SLACK

HOUR, DAY, WEEK = WINDOWS
NOW = 1_800_000_000.0
KEY = ("vault", "actuator", "10.4.5.11:8085")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def filled() -> History:
    """Eight days of an attempt a minute, of which ten minutes two hours ago failed."""
    history = History()
    for age in range(8 * 86400, 0, -60):
        bad = 7200 <= age < 7800
        history.count(NOW - age, Verdict.DOWN if bad else Verdict.UP, 0.01)
        if bad:
            history.failed(NOW - age, Verdict.DOWN, Stage.CONNECT, Reason.CONNECT_REFUSED, f"refused at {age}")
        else:
            history.worked()
    return history


def test_each_window_has_its_own_share_and_no_more_than_its_time() -> None:
    history = filled()
    hour, day, week = (history.sum(window, NOW) for window in WINDOWS)
    assert hour.up == pytest.approx(60, abs=2)
    assert (hour.down, hour.availability) == (0, 1.0)
    assert hour.covered == pytest.approx(1, abs=1 / HOUR.buckets)
    assert (day.down, week.down) == (10, 10)
    assert day.up == pytest.approx(1430, abs=31)
    assert week.up == pytest.approx(7 * 1440 - 10, abs=181)
    assert day.mean == pytest.approx(0.01, rel=1e-3)
    assert history.line(DAY, NOW).count("d") == 2, "the ten minutes are in two stretches"


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
@pytest.mark.parametrize("age", [60, 3_000, 2 * 3600, 5 * 3600, 2 * 86400])
def test_what_is_remembered_of_a_window_is_told_to_a_bucket_of_the_finest_that_reaches_so_far(
    window: Window, age: int
) -> None:
    history = History()
    for ago in range(age, 0, -5):
        history.count(NOW - ago, Verdict.UP, 0.01)
    [error] = [finer.width for finer in WINDOWS if age < finer.seconds][:1]
    length = NOW - window.began(NOW)
    assert history.sum(window, NOW).covered * length == pytest.approx(min(age, length), abs=min(error, window.width))


def test_what_a_shorter_window_has_lost_to_the_clock_is_still_remembered_by_a_longer_one() -> None:
    history = History()
    history.count(NOW - 60, Verdict.UP, 0.01)
    for _ in range(3):
        history.count(NOW - 2 * 3600, Verdict.UP, 0.01)  # back by more than an hour and by less than a day
    assert history.sum(HOUR, NOW).covered == 0
    assert history.sum(DAY, NOW).covered > 0


def test_it_is_as_large_on_the_first_day_as_after_years() -> None:
    """2 kB of buckets, and failures without number are twenty."""
    assert BYTES == 1876
    history = filled()
    for n in range(1000):
        history.failed(NOW + n, Verdict.DOWN, Stage.WAIT, Reason.TIMEOUT, "x" * 10_000)
        history.worked()
    rings, failures = history.dump()
    assert sum(len(counts) + len(times) for _, counts, times in rings) == BYTES
    assert len(failures) == MOST_FAILURES
    assert sys.getsizeof(failures[0].detail) < 400


def test_failures_that_are_alike_and_follow_one_another_are_one() -> None:
    (one,) = filled().failures
    assert (one.times, one.last - one.first, one.detail) == (10, 540.0, "refused at 7740")


def test_successes_do_not_push_failures_out() -> None:
    history = filled()
    for n in range(100_000):
        history.count(NOW + n, Verdict.UP, 0.01)
        history.worked()
    assert len(history.failures) == 1


def test_what_was_before_a_pause_is_not_taken_for_what_came_after() -> None:
    """The exporter was stopped for two days: the day is empty, and says that nothing is known of it."""
    history = filled()
    later = NOW + 2 * 86400
    assert history.sum(DAY, later).covered == 0
    assert history.sum(DAY, later).availability is None
    assert set(history.line(DAY, later)) == {"."}
    assert 0 < history.sum(WEEK, later).covered < 1


@pytest.mark.parametrize("away", [-40.0, -86_400.0, -90 * 86_400.0])
def test_a_clock_that_is_set_back_breaks_nothing(away: float) -> None:
    history = filled()
    history.count(NOW + away, Verdict.UP, 0.01)
    assert history.sum(HOUR, NOW).up >= 58, "of one attempt by a wrong clock nothing is lost"
    assert history_view(history, NOW + away).windows


@pytest.mark.parametrize("away", [-86_400.0, -90 * 86_400.0])
def test_a_clock_that_was_ahead_does_not_stop_the_history_until_it_is_then(away: float) -> None:
    """A machine that started with its clock a day ahead, before it was set: from then on it counts what is."""
    history = History.loaded(*filled().dump())
    for n in range(30):
        history.count(NOW + away + n * 60, Verdict.UP, 0.01)
    assert history.sum(HOUR, NOW + away + 1800).up >= 26


def test_what_was_lost_to_a_clock_that_went_wrong_twice_is_nothing() -> None:
    """One wrong attempt now and then is not three in a row."""
    history = filled()
    for n in range(10):
        history.count(NOW - 90 * 86_400, Verdict.DOWN, 0.01)
        history.count(NOW + n, Verdict.UP, 0.01)
    assert history.sum(HOUR, NOW).up >= 58
    assert history.sum(WEEK, NOW).down == 10


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "history.json")
    history = filled()
    await file.write([(KEY, history.dump())])
    await file.write([(KEY, history.dump())])
    assert sorted(names(tmp_path)) == [".history.json.lock", "history.json"]
    file.close()
    found = await StateFile(tmp_path / "history.json").load()
    assert history_view(found[KEY], NOW) == history_view(history, NOW)


async def test_no_file_yet_is_nothing_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await StateFile(tmp_path / "history.json").load() == {}
    assert not caplog.records


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: b"", "no file of this exporter"),
        (lambda content: b"root:x:0:0\n", "no file of this exporter"),
        (lambda content: b"\x80\x00" * 50, "no file of this exporter"),
        (lambda content: b"[" * 100_000, "no file of this exporter"),
        (lambda content: content.replace(b'"version":1', b'"version":2', 1), "of version 2"),
        (lambda content: content[: len(content) // 2], "cut off"),
        (lambda content: content.replace(b'"rings"', b'"rinks"', 1), "damaged"),
        (lambda content: content.replace(b'"key":["vault"', b'"key":[7', 1), "damaged"),
        (lambda content: content.replace(b'"connect_refused"', b'"nonsense"', 1), "damaged"),
        (lambda content: content.replace(b'"rings":[[', b'"rings":[[-', 1), "damaged"),
        (lambda content: content.replace(b'"rings":[[', b'"rings":[[1e999, "", ""],[', 1), "damaged"),
        (lambda content: content.replace(b'"refused at 7740"', b'"\\ud800"', 1), "damaged"),
        (lambda content: content.replace(b'"failures":[[', b'"failures":[[NaN,', 1), "damaged"),
        (lambda content: re.sub(rb'"failures":\[\[[0-9.]+,[0-9.]+', b'"failures":[[NaN,NaN', content), "damaged"),
        (lambda content: re.sub(rb'"failures":\[\[[0-9.]+,[0-9.]+', b'"failures":[[0,1e300', content), "damaged"),
        (lambda content: re.sub(rb'"failures":\[\[([0-9.]+,[0-9.]+),10', rb'"failures":[[\1,Infinity', content), "damaged"),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_used_is_told_and_left_unread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, says: str
) -> None:
    """Nothing that somebody has put there ends the exporter, or becomes a history."""
    path = tmp_path / "history.json"
    await StateFile(path).write([(KEY, filled().dump())])
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert await StateFile(path).load() == {}
    assert says in caplog.text


@pytest.mark.parametrize(
    "content", [b"root:x:0:0\n", b"\x80" * 5000, b'{"format":"hafnium-exporter history","version":2}\n"end"\n']
)
async def test_what_is_somebody_elses_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    """A path that was mistyped, or a file of a newer exporter that was rolled back."""
    path = tmp_path / "history.json"
    path.write_bytes(content)
    with pytest.raises(Unwritten, match=r"no file of this exporter|version 2"):
        await StateFile(path).write([(KEY, filled().dump())])
    assert path.read_bytes() == content


async def test_one_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    for content in (b"", b'{"format":"hafnium-exporter history","version":1}\n{"key":["va'):
        path.write_bytes(content)
        file = StateFile(path)
        await file.write([(KEY, filled().dump())])
        file.close()
        assert KEY in await StateFile(path).load()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _circle(path: Path) -> None:
    path.symlink_to(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [_fifo, Path.mkdir, _circle, _endless])
async def test_what_is_no_file_is_neither_waited_for_nor_replaced(tmp_path: Path, put: Callable[[Path], None]) -> None:
    path = tmp_path / "history.json"
    put(path)
    before = path.lstat()
    async with asyncio.timeout(10 * SLACK):
        assert await StateFile(path).load() == {}
        with pytest.raises(Unwritten):
            await StateFile(path).write([])
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)


async def test_of_a_link_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    path = tmp_path / "history.json"
    path.symlink_to("disk/kept.json")
    await StateFile(path).write([(KEY, filled().dump())])
    assert path.is_symlink()
    assert KEY in await StateFile(tmp_path / "disk/kept.json").load()


async def test_a_link_laid_where_it_writes_is_not_followed(tmp_path: Path) -> None:
    """In a folder that others may write to."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".history.json.new").symlink_to("precious")
    await StateFile(tmp_path / "history.json").write([(KEY, filled().dump())])
    assert (tmp_path / "precious").read_text() == "mine"
    assert KEY in await StateFile(tmp_path / "history.json").load()


async def test_two_exporters_with_one_file_are_told_and_harm_neither(tmp_path: Path) -> None:
    """Both are process 1, each of its container, and share a volume: the second writes once the first has gone."""
    first, second = StateFile(tmp_path / "history.json"), StateFile(tmp_path / "history.json")
    await first.write([(KEY, filled().dump())])
    with pytest.raises(Unwritten, match="another exporter"):
        await second.write([])
    assert KEY in await second.load()
    first.close()
    await second.write([])
    assert await second.load() == {}


async def test_a_folder_that_is_not_there_is_told_and_harms_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unwritten, match="No such file"):
        await StateFile(tmp_path / "gone" / "history.json").write([])


async def test_what_does_not_fit_is_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "MOST_BYTES", 20_000)
    file = StateFile(tmp_path / "history.json")
    entries = [((f"s{n}", "tls", "t"), filled().dump()) for n in range(10)]
    with pytest.raises(Unwritten, match="no room"):
        await file.write(entries)
    assert (tmp_path / "history.json").stat().st_size <= 20_000
    assert 0 < len(await file.load()) < 10


async def test_a_disk_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The next write says that the one before hangs; the loop goes on."""
    go = asyncio.Event()
    loop = asyncio.get_running_loop()
    file = StateFile(tmp_path / "history.json")

    def slow() -> object:
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return iter(())

    class Slow:
        def __iter__(self) -> object:
            return slow()

    first = asyncio.create_task(file.write(Slow()))  # type: ignore[arg-type] # it iterates, once it may
    await asyncio.sleep(0)
    with pytest.raises(Unwritten, match="hangs"):
        await file.write([])
    go.set()
    await first
