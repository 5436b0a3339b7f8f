"""What docs/concepts.md has of the code: its numbers, the reasons for which nothing is told, and its pictures.

The picture of confirmation is drawn from what `Confirmed` makes of attempts, so it cannot say anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from exporter.diagnosis.incidents import RECOVERED_FOR, SETTLE_WITHIN
from exporter.engine.confirmation import Confirmed
from exporter.engine.scheduler import HASTE_GAP
from exporter.engine.target import STALE_INTERVALS
from exporter.probing.probe import Confirmation, ProbeSettings
from exporter.probing.runner import LAG_SHARE
from exporter.verdict import PROBER_FAULTS, Reason, Stage, Verdict

__all__ = ["numbers", "pictures", "unknown_reasons"]

_COLOURS = {"up": "#007a5a", "down": "#b84f00", "unknown": "#767676"}
"""Told apart by those who do not see all colours, and never without the word."""

_LETTERS = {"u": (Verdict.UP, None), "d": (Verdict.DOWN, Reason.TIMEOUT), "?": (Verdict.UNKNOWN, Reason.PROBER_DNS)}

_RUNS = (
    ("one failure", "uuduu"),
    ("failures in a row", "uudddu"),
    ("the prober cannot tell", "uu??u"),
    ("… between two failures", "ud?du"),
    ("… of what is down", "udd??d"),
)


def numbers() -> str:
    """Return the table of what is set to what, where nobody says otherwise."""
    rule, settings = Confirmation(), ProbeSettings()
    rows = (
        ("time between two attempts of the grid", "`interval`", f"{settings.interval:g} s"),
        ("deadline of an attempt, all stages together", "`timeout`", f"{settings.timeout:g} s"),
        ("failures in a row until a target is down", "`confirm.failures`", f"{rule.failures}"),
        ("successes in a row until it is up again", "`confirm.successes`", f"{rule.successes}"),
        (
            "time to a recheck while the verdict is unsettled",
            "`recheck_interval`",
            f"a quarter of the interval, at least 1 s: {settings.recheck:g} s",
        ),
        ("intervals without an attempt that ends until nothing is believed", "–", f"{STALE_INTERVALS}, and a timeout"),
        ("share of the deadline for which the loop may stand still until a timeout says nothing", "–", f"{LAG_SHARE:.0%}"),
        ("time within which the incident of what is down is chosen", "–", f"{SETTLE_WITHIN:g} s"),
        ("time that a root must be well until what is still down has an incident of its own", "–", f"{RECOVERED_FOR:g} s"),
        ("time between two attempts on what is asked because something else failed", "–", f"at least {HASTE_GAP:g} s"),
    )  # fmt: skip
    return _table(("what", "setting", "default"), rows)


def unknown_reasons() -> str:
    """Return the table of reasons that lie with the prober."""
    return _table(
        ("reason", "meaning"), ((f"`{reason.value}`", reason.meaning) for reason in Reason if reason in PROBER_FAULTS)
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("| --- ", "|---").replace("--- |", "---|") for line in lines)


def pictures() -> dict[str, str]:
    """Return the pictures by their path in the repository."""
    drawn = {"confirmation": _confirmation(), "stages": _stages(), "way": _way(), "incident": _incident()}
    return {f"docs/pictures/{name}.svg": text for name, text in drawn.items()}


def told(attempts: str, rule: Confirmation | None = None) -> list[Verdict]:
    """Return what is told after each of some attempts: `u` for one that came out up, `d` for down, `?` for neither.

    Args:
        attempts: One letter each.
        rule: How many in a row count; by default as configured where nobody says otherwise.
    """
    confirmed = Confirmed(rule or Confirmation())
    found = []
    for letter in attempts:
        confirmed.feed(*_LETTERS[letter])
        found.append(confirmed.verdict)
    return found


def _confirmation() -> str:
    left, step, height = 190, 84, 62
    parts = [*_text(12, 26, "attempts, one after the other →", small=True)]
    for row, (name, attempts) in enumerate(_RUNS):
        top = 40 + row * height
        parts += [*_text(12, top + 17, name), *_text(12, top + 37, "told", small=True)]
        for at, (letter, verdict) in enumerate(zip(attempts, told(attempts), strict=True)):
            of_attempt = _LETTERS[letter][0]
            parts += _box(left + at * step, top, step - 8, 24, of_attempt.value, _COLOURS[of_attempt.value], hollow=True)
            parts += _box(left + at * step, top + 26, step, 16, verdict.value, _COLOURS[verdict.value])
    return _svg(
        left + 6 * step + 12, 40 + len(_RUNS) * height, parts, "What is told after each attempt, two failures being down"
    )


def _stages() -> str:
    shown = [stage for stage in Stage if stage is not Stage.INTERNAL]
    step = 84
    parts: list[str] = []
    for at, stage in enumerate(shown):
        parts += _box(12 + at * step, 14, step - 10, 28, stage.value, "#1f5f8b", hollow=True)
        if at:
            parts += _arrow(12 + at * step - 10, 28, 12 + at * step)
    parts += _text(12, 66, "A failure names the stage that it came to, and why. What was learnt before is kept.", small=True)
    return _svg(12 + len(shown) * step, 80, parts, "The stages that an attempt can come to")


def _way() -> str:
    steps = (
        ("attempt", "one question,", "one deadline"),
        ("confirmation", "enough in a row", "change the verdict"),
        ("service", "enough instances", "up, or down"),
        ("incident", "the root cause", "of what is down"),
        ("page", "one for", "one cause"),
    )
    width, gap = 128, 26
    parts: list[str] = []
    for at, (name, first, second) in enumerate(steps):
        x = 12 + at * (width + gap)
        parts += _box(x, 14, width, 30, name, "#1f5f8b")
        parts += [
            *_text(x + width / 2, 62, first, small=True, middle=True),
            *_text(x + width / 2, 78, second, small=True, middle=True),
        ]
        if at:
            parts += _arrow(x - gap, 29, x)
    parts += [f'<path d="M76 86v26h22" fill="none" stroke="{_COLOURS["unknown"]}" stroke-width="2"/>']
    parts += _box(98, 100, 128, 24, "unknown", _COLOURS["unknown"])
    parts += _text(
        238, 117, "the prober is at fault, or cannot tell: the verdict is withdrawn, and no page comes of it", small=True
    )
    return _svg(12 + len(steps) * (width + gap), 138, parts, "From an attempt to a page")


def _incident() -> str:
    parts = [*_box(20, 58, 140, 30, "postgres: down", _COLOURS["down"])]
    for row, name in enumerate(("identity", "case", "api-facade")):
        y = 12 + row * 46
        parts += _box(250, y, 150, 30, f"{name}: down", _COLOURS["down"], hollow=True)
        parts += [f'<path d="M250 {y + 15}L162 73" fill="none" stroke="#444" stroke-width="1.5" marker-end="url(#tip)"/>']
    parts += [*_text(206, 148, "needs", small=True, middle=True), *_arrow(410, 73, 470)]
    parts += _box(470, 48, 290, 50, "postgres is down: 3 services with it", "#1f5f8b")
    parts += _text(615, 118, "one incident, named after the root: one page", small=True, middle=True)
    return _svg(780, 160, parts, "Three services that need a database which is down are one incident")


def _svg(width: float, height: float, parts: Iterable[str], title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="14">'
    )
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    ground = f'<rect width="{width:g}" height="{height:g}" rx="6" fill="#fff" stroke="#ccc"/>'
    lines = [
        head,
        f"<title>{escape(title)}</title>",
        f'<defs>{tip}<path d="M0 0L8 4L0 8z" fill="#444"/></marker></defs>',
        ground,
    ]
    return "\n".join([*lines, *parts, "</svg>"]) + "\n"


def _box(x: float, y: float, width: float, height: float, text: str, colour: str, *, hollow: bool = False) -> Iterator[str]:
    fill, ink = ("#fff", colour) if hollow else (colour, "#fff")
    yield (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}" stroke="{colour}" '
        f'stroke-width="1.5"/>'
    )
    size = ' font-size="12"' if height < 28 else ""
    yield (
        f'<text x="{x + width / 2:g}" y="{y + height / 2 + 4.5:g}" text-anchor="middle" fill="{ink}" font-weight="600"'
        f"{size}>{escape(text)}</text>"
    )


def _text(x: float, y: float, text: str, *, small: bool = False, middle: bool = False) -> Iterator[str]:
    look = (' font-size="12" fill="#555"' if small else ' fill="#222"') + (' text-anchor="middle"' if middle else "")
    yield f'<text x="{x:g}" y="{y:g}"{look}>{escape(text)}</text>'


def _arrow(x: float, y: float, to: float) -> Iterator[str]:
    yield f'<path d="M{x:g} {y:g}H{to - 1:g}" fill="none" stroke="#444" stroke-width="1.5" marker-end="url(#tip)"/>'
