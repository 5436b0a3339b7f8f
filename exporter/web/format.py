"""Times, durations, sizes and reasons the way people read them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from urllib.parse import quote

from markupsafe import Markup, escape

from exporter.boards import Board
from exporter.verdict import Reason, Stage

__all__ = [
    "age",
    "board_address",
    "clock",
    "fact",
    "iso",
    "listing",
    "marked",
    "panel_address",
    "reason_text",
    "sentence",
    "share",
    "span",
    "stage_text",
]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_COMMAND = re.compile(r"(?:kubectl|rpk|curl|openssl|psql|redis-cli|hafnium-exporter) (?:'[^'`]*'|[^`:(']|:(?! ))+")
"""A step that is a command and nothing else."""

_UID = re.compile(r"(.*?/d/[^/]+)")
"""A dashboard's address up to its uid; what follows is its title, which Grafana puts there and does not read."""

_REASONS = {reason.value: reason.meaning for reason in Reason}
_STAGES = {stage.value: stage.meaning for stage in Stage}


def age(seconds: float) -> str:
    """Write how long ago or for how long, coarsely: `4 s`, `12 min`, `3 h 20 min`, `5 d`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        minutes = whole % _HOUR // _MINUTE
        return f"{whole // _HOUR} h" + (f" {minutes} min" if minutes and whole < 10 * _HOUR else "")
    return f"{whole // _DAY} d"


def span(seconds: float) -> str:
    """Write a measured duration with about three digits: `740 µs`, `3.2 ms`, `38 ms`, `1.24 s`."""
    if not math.isfinite(seconds):
        return str(seconds)
    if abs(seconds) >= 2 * _MINUTE:
        return age(seconds)
    if abs(seconds) >= 0.9995:
        return f"{seconds:.3g} s"
    if abs(seconds) >= 0.0009995:
        return f"{seconds * 1e3:.{1 if abs(seconds) < 0.00995 else 0}f} ms"
    return f"{seconds * 1e6:.0f} µs" if seconds else "0"


def board_address(fleet: str, service: str) -> str:
    """Return the address of the fleet's dashboard as it shows one service; see `panel_address`."""
    place, organisation = _board(fleet)
    return f"{place}?{organisation}var-service={quote(service)}"


def panel_address(fleet: str, board: str, panel: int, service: str) -> str:
    """Return the address of a panel: boards stand beside the fleet's, whose address is known.

    Args:
        fleet: Address of the fleet's dashboard, as https://grafana/d/hafnium-fleet, or as Grafana has it where it is open:
            with its title behind it, and what was chosen.
        board: The board that has the panel; where the fleet's goes by another name, none but the fleet's is known.
        panel: Its number.
        service: Which service it is to show.
    """
    place, organisation = _board(fleet)
    beside = place.removesuffix(f"-{Board.FLEET}")
    found = f"?{organisation}var-service={quote(service)}"
    if board == Board.FLEET:
        return f"{place}{found}&viewPanel={panel}"
    return f"{beside}-{board}{found}&viewPanel={panel}" if beside != place else f"{place}{found}"


def _board(address: str) -> tuple[str, str]:
    """Return the address of a dashboard by its uid alone, and the organisation that it names, to be put before more."""
    place, _, query = address.partition("?")
    found = _UID.match(place)
    organisation = next((each for each in query.split("&") if each.startswith("orgId=")), "")
    return (found[1] if found else place.rstrip("/")), organisation and f"{organisation}&"


def share(ratio: float) -> str:
    """Write a share, never rounded to all or nothing where it is not: `99.97 %`, `100 %`, `< 0.1 %`."""
    if ratio >= 1:
        return "100 %"
    if 0 < ratio < 0.001:
        return "< 0.1 %"
    digits = 1 if ratio < 0.99 else 2 if ratio < 0.9999 else 3
    return f"{math.floor(ratio * 10 ** (digits + 2)) / 10**digits:.{digits}f} %"


def iso(moment: float) -> str:
    """Write a Unix time for programs."""
    return _datetime(moment).isoformat(timespec="seconds").replace("+00:00", "Z")


def clock(moment: float) -> str:
    """Write a Unix time for people, in UTC, as logs have it."""
    return _datetime(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def fact(name: str, value: float, now: float) -> str:
    """Write a metric's value by the unit in its name; of what is up or not, in a word."""
    name = name.partition("{")[0].removesuffix("_total")
    if not math.isfinite(value):
        return str(value)
    if name.endswith(("_timestamp_seconds", "_cert_expiry")):
        return _moment(value, now)
    if name.endswith("_seconds"):
        return span(value)
    if name.endswith("_bytes"):
        return _size(value)
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    return _number(name, value)


def _number(name: str, value: float) -> str:
    if name.endswith("_up") and value in (0, 1):
        return "up" if value else "down"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.4g}"


def reason_text(reason: str | None) -> str:
    """Say what a reason means."""
    return _REASONS.get(reason or "") or (reason or "no reason is known").replace("_", " ").capitalize() + "."


def stage_text(stage: str) -> str:
    """Say what happens in a stage."""
    return _STAGES.get(stage, "")


def sentence(text: str, name: str) -> str:
    """Write a sentence's first letter large, unless it begins with a name, which is written as it is."""
    return text if name and text.startswith(name) else text[:1].upper() + text[1:]


def marked(text: str) -> Markup:
    """Set what is between backticks as code; a line without any that is a command is one as a whole."""
    pieces = ["", text, ""] if _COMMAND.fullmatch(text) else text.split("`")
    if len(pieces) % 2 == 0:  # one has no partner
        return escape(text)
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces)
    )


def listing(names: list[str]) -> str:
    """Join names as a sentence does: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _moment(value: float, now: float) -> str:
    when = f"in {age(value - now)}" if value > now else f"{age(now - value)} ago"
    return f"{clock(value)} ({when})"


def _size(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:,.4g} TiB"


def _datetime(moment: float) -> datetime:
    try:
        return datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):  # a server's clock may say anything
        return datetime.fromtimestamp(0, UTC)
