"""Pieces of PromQL for rules.

Every series is read over a window that bridges a lost scrape, and joined over all exporters: two of them are one alert, and
a new pod of one does not make a new alert.
"""

from __future__ import annotations

from textwrap import indent

from exporter.alerts.model import Options, duration
from exporter.limits.measures import Either, Gauge, Grown, Left, Measure, Ratio, Share, Total
from exporter.limits.model import Limit

__all__ = ["OWNER", "above", "below", "down", "firing", "highest", "limit", "lowest", "over", "ratio", "stepping_back"]

OWNER = "service, tier, team"
"""Labels by which every alert is told apart, those of the configuration where it has them."""


def highest(series: str, window: str, *labels: str) -> str:
    """Take the highest of the newest values."""
    return f"max by ({', '.join((OWNER, *labels))}) (last_over_time({series}[{window}]))"


def lowest(series: str, window: str, *labels: str) -> str:
    """Take the lowest of the newest values."""
    return f"min by ({', '.join((OWNER, *labels))}) (last_over_time({series}[{window}]))"


def limit(family: str, options: Options) -> str:
    """Take a threshold of the configuration, by service."""
    return f"max by (service) (last_over_time({family}[{options.recent}]))"


def above(value: str, family: str, options: Options, comparison: str = ">") -> str:
    """Hold a value of a service against its threshold."""
    return f"{value}\n  {comparison} on (service) group_left ()\n{limit(family, options)}"


def below(value: str, family: str, options: Options) -> str:
    """Hold a value of a service against its threshold, where low values are bad."""
    return above(value, family, options, "<")


def over(limit: Limit, options: Options, value: str = "") -> str:
    """Hold what a limit measures against it.

    Args:
        limit: Which.
        options: Of the rules.
        value: PromQL in place of its measure, where the rule asks for more.
    """
    return above(value or measured(limit.measure, options), limit.family.name, options, limit.comparison)


def measured(measure: Measure, options: Options) -> str:
    """Write a measure: the same that `Measure.read` reads of an attempt, over the newest samples of all exporters."""
    match measure:
        case Gauge():
            return highest(series(measure), options.recent, *(["target"] if measure.per_target else []), *measure.by)
        case Total():
            each = f"sum by ({OWNER}, target, job, instance) (last_over_time({measure.family.name}[{options.recent}]))"
            return f"max by ({OWNER}, target) ({each})"
        case Ratio():
            return ratio(measured(measure.part, options), measured(measure.whole, options))
        case Left():
            return f"({lowest(series(measure.moment), '1h', 'target')} - time())"
        case Either():
            return _either(measure, options)
        case Share():
            return _share(measure, options)
    raise TypeError(f"{type(measure).__name__} is written by the rule itself")


def series(measure: Gauge | Grown) -> str:
    """Select the series of a gauge or a counter."""
    labels = ",".join(f'{name}="{value}"' for name, value in measure.where)
    return measure.family.name + (f"{{{labels}}}" if labels else "")


def _either(either: Either, options: Options) -> str:
    if len({gauge.family for gauge in either.these}) == 1:  # told apart by a label that is of no matter
        others = ", ".join(sorted({name for gauge in either.these for name, _ in gauge.where}))
        newest = (f"last_over_time({series(gauge)}[{options.recent}])" for gauge in either.these)
        return f"max by ({OWNER}, target) (\n    " + f"\n    or ignoring ({others}) ".join(newest) + "\n)"
    return "(\n  " + "\n  or\n  ".join(measured(gauge, options) for gauge in either.these) + "\n)"


def _share(share: Share, options: Options) -> str:
    if share.least_part >= 0:  # over all targets of a service; the rule asks for enough of it
        part, whole = (f"sum by ({OWNER}) (rate({series(each)}[{options.rate}]))" for each in (share.part, share.whole[0]))
        return ratio(part, whole)
    part, *wholes = (
        f"max by ({OWNER}, target) (increase({series(each)}[{duration(each.window)}]))"
        for each in (share.part, *share.whole)
    )
    return f"{part}\n  / ({' + '.join(wholes)} > {share.least:g})"


def ratio(part: str, whole: str) -> str:
    """Divide, leaving out what has no denominator."""
    return f"{part}\n  / ({whole} > 0)"


def firing(name: str, *on: str) -> str:
    """Leave out what another alert says better while it fires."""
    return f'unless on ({", ".join(on or ("service",))}) ALERTS{{alertname="{name}", alertstate="firing"}}'


def down(options: Options) -> str:
    """Select the services whose newest verdict is down. Of several exporters all must say so."""
    return f"max by (service) (last_over_time(probe_service_up[{options.recent}])) == 0"


def stepping_back(expr: str, options: Options) -> str:
    """Leave out what is a symptom of a service that is down: its page says more."""
    return f"(\n{indent(expr.strip(), '  ')}\n)\nunless on (service) ({down(options)})"
