"""Everything below alerts/ that is made from code, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter import generated
from exporter.alerts import kubernetes, routes, rules
from exporter.alerts.model import Alert, Group, Options, duration
from exporter.alerts.text import commented, dump

__all__ = ["check", "render", "write"]

_MADE = "Made from exporter/alerts/ by `hafnium-exporter alerts build`: change it there."


def render(options: Options | None = None) -> dict[str, str]:
    """Return every file by its path below alerts/. The same code and options give the same bytes."""
    chosen = options or Options()
    made = {f"rules/{name}.yml": _rules(name, groups, chosen) for name, groups in rules.files(chosen).items()}
    made["alertmanager.yml"] = commented(f"{_MADE}\n{routes.HEADER}") + dump(routes.alertmanager(chosen))
    made["prometheus.yml"] = _prometheus(chosen)
    made["kubernetes/prometheusrule.yaml"] = commented(_MADE) + dump(kubernetes.prometheus_rule(chosen))
    about = f"{_MADE}\nThe keys of PagerDuty are in a Secret {kubernetes.SECRET}, one for each receiver, by its name."
    made["kubernetes/alertmanagerconfig.yaml"] = commented(about) + dump(kubernetes.alertmanager_config(chosen))
    return made


def write(folder: Path, options: Options | None = None) -> list[Path]:
    """Write every file below `folder`, made if missing, and return them.

    Raises:
        OSError: The folder cannot be written.
    """
    return generated.write(folder, render(options))


def check(folder: Path, options: Options | None = None) -> list[str]:
    """Return what differs between `folder` and the code, one line each: missing, out of date, or not made by any code."""
    return generated.differences(folder, render(options), "rules/*.yml")


def _rules(name: str, groups: tuple[Group, ...], options: Options) -> str:
    subject = (rules.FILES[name].__doc__ or "").strip()
    return commented(f"{_MADE}\n{subject}") + "groups:\n" + "\n".join(_group(group, options) for group in groups)


def _group(group: Group, options: Options) -> str:
    head: dict[str, Any] = {"name": f"{options.name}-{group.name}"}
    if group.interval:
        head["interval"] = group.interval
    listed = dump([head], 2)
    return commented(group.comment, 2) + listed + "    rules:\n" + "\n".join(_rule(alert, options) for alert in group.alerts)


def _rule(alert: Alert, options: Options) -> str:
    listed = dump([rules.rule(alert, options)], 6)
    first, _, rest = listed.partition("\n")
    disables = "".join(
        commented(f"{disable.reason}:", 8) + commented(f"pint disable {disable.check}", 8) for disable in alert.disables
    )
    return f"{commented(alert.comment, 6)}{first}\n{disables}{rest}"


def _prometheus(options: Options) -> str:
    config = {
        "global": {
            "scrape_interval": duration(options.scrape_interval),
            "scrape_timeout": duration(min(10.0, options.scrape_interval)),
            "evaluation_interval": duration(options.scrape_interval),
        },
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [options.alertmanager]}]}]},
        "scrape_configs": [{"job_name": options.job, "static_configs": [{"targets": [options.exporter]}]}],
    }
    about = (
        "Scrapes the exporter and evaluates the rules beside this file. The rules select the job's name, and their windows\n"
        "count on the scrape interval: for others, build them anew."
    )
    return commented(f"{_MADE}\n{about}") + dump(config)
