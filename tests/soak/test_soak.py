"""A soak of half a minute; that a leak is told, by samples and by a daemon that leaks; and what a trend is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.__main__ import BEGIN, END, leaking, render, write
from tests.soak.run import QUANTITIES, Report, Sample, judge, soak
from tests.soak.trend import growth
from tests.soak.users import User
from tests.waiting import until

MIB = 1 << 20
SECONDS = 30.0


async def test_half_a_minute_shows_nothing(tmp_path: Path) -> None:
    report = await soak(tmp_path, SECONDS)
    assert report.problems == [], (tmp_path / "exporter" / "exporter.log").read_text(errors="replace")[-3000:]
    assert report.attempts > 100
    assert all(times > 0 for times in report.done.values()), report.done
    assert "Nothing was wrong." in render(report)


async def test_a_daemon_that_leaks_is_told(tmp_path: Path) -> None:
    report = await soak(tmp_path, SECONDS, environment=leaking(250_000))  # 300 MB where no attempt is missed
    assert any(problem.startswith("memory grew by ") for problem in report.problems), report.problems


def samples(seconds: float, **growing: float) -> Sequence[Sample]:
    """Return a sample a second of a process that is busy, and of which something grows by so much a second."""
    dice = random.Random(1)
    made = []
    for second in range(int(seconds)):
        warm = 20 * MIB * min(1.0, second / 100)
        busy = Sample(
            second, 100 * MIB + warm + dice.uniform(0, 2 * MIB), dice.randint(40, 70), 12, dice.randint(50, 90), 2500
        )
        more = {name: getattr(busy, name) + rate * second for name, rate in growing.items()}
        made.append(replace(busy, **more))
    return made


def test_what_is_flat_is_right() -> None:
    assert judge(samples(1152)) == []


@pytest.mark.parametrize(
    ("name", "rate"), [("memory", 0.01 * MIB), ("descriptors", 0.02), ("threads", 0.003), ("tasks", 0.03), ("series", 0.5)]
)
def test_what_grows_slowly_is_told_by_its_name(name: str, rate: float) -> None:
    assert name in QUANTITIES
    [problem] = judge(samples(1152, **{name: rate}))
    assert problem.startswith(f"{name} grew by ")


def test_too_few_samples_tell_nothing_and_that_is_told() -> None:
    assert "nothing can be told" in judge(samples(5))[0]


def test_a_trend_is_not_bent_by_what_is_odd() -> None:
    flat = [(float(at), 5.0) for at in range(100)]
    assert growth([(at, 500.0 if at % 5 == 0 else value) for at, value in flat]) == 0
    assert growth([(at, value + at) for at, value in flat]) == pytest.approx(99)
    assert growth([(1.0, 2.0)]) == 0


def test_a_user_tells_what_he_was_not_to_be_answered() -> None:
    answers = iter([200, 500])

    def act() -> int:
        return next(answers)

    user = User("reader", 0.01, act)
    user.start()
    until(lambda: len(user.failures) > 1, 5, "he has complained")
    user.end()
    assert user.failures[0] == "reader was answered 500"
    assert "StopIteration" in user.failures[1]
    assert user.times == 2


def test_the_page_has_what_came_of_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    report = Report(1152.0, list(samples(1152)), ["it stalled"], {"scrape": 1152}, 90_000, 5_760)
    write(page, render(report))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "1.00 days" in text
    assert "- it stalled" in text
    assert "| memory | " in text
