"""What every dashboard has in common: variables, alerts as annotations, links between dashboards, rows and their layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as models

from exporter.boards import Board
from exporter.dashboards.panels import DATASOURCE, Made, Panels
from exporter.dashboards.promql import own

__all__ = ["Content", "Names", "Row", "assemble"]

COLUMNS = 24
"""Of Grafana's grid."""
ALERTS = 'ALERTS{alertstate="firing", alertname!="Watchdog", incident=~".+", service=~"$service|"}'
"""An alert of the exporter itself has no service: the empty alternative keeps it. All of its rules have an incident, and
others of the same Prometheus have none."""
ALL = models.VariableOption(selected=True, text=["All"], value=["$__all"])


@dataclass(frozen=True, slots=True)
class Names:
    """What a user chooses.

    Attributes:
        fleet: Name of the fleet: prefix of what Grafana knows the dashboards by, their tag, the beginning of their titles.
        kinds: Kinds of probes that there are; dashboards of others are left out. None is all.
        runbook_url: Address of the runbook.
    """

    fleet: str = "hafnium"
    kinds: frozenset[str] | None = None
    runbook_url: str = "https://runbooks.hafnium.example/runbook.md"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels.

    Attributes:
        number: Its id, beside those of panels.
        title: Its heading.
        panels: From left to right, and then below.
    """

    number: int
    title: str
    panels: Panels


@dataclass(frozen=True, slots=True)
class Content:
    """What one dashboard shows.

    Attributes:
        board: Which it is.
        title: After the fleet's name.
        description: What it is looked at for.
        rows: From the top.
        kinds: Kinds of probes that it is about: it offers their services only. None is any.
        instances: Whether instances of a service can be chosen.
    """

    board: Board
    title: str
    description: str
    rows: Sequence[Row]
    kinds: frozenset[str] | None = None
    instances: bool = False


def assemble(content: Content, names: Names) -> dashboard.Dashboard:
    """Build a dashboard."""
    board = (
        dashboard.Dashboard(f"{names.fleet.capitalize()} {content.title}")
        .uid(content.board.uid(names.fleet))
        .description(content.description)
        .tags([names.fleet, "generated"])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    for variable in _variables(content):
        board.with_variable(variable)
    board.annotation(_alerts())
    for link in _navigation(names):
        board.link(Made(link))
    top = 0
    for row in content.rows:
        board.with_row(dashboard.Row(row.title).id(row.number).grid_pos(models.GridPos(x=0, y=top, w=COLUMNS, h=1)))
        top += 1
        for line in _lines(row.panels):
            top += _place(line, top)
            for panel in line:
                _link(panel, content, names)
                board.with_panel(Made(panel))
    return board


def _lines(panels: Panels) -> Iterator[list[models.Panel]]:
    """Yield what fits beside each other. The last line is not left with one panel where the one before has three."""
    lines: list[list[models.Panel]] = [[]]
    for builder in panels:
        panel = builder.build()
        if lines[-1] and sum(_size(each)[0] for each in (*lines[-1], panel)) > COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    if len(lines) > 1 and len(lines[-2]) > len(lines[-1]) + 1:
        lines[-1].insert(0, lines[-2].pop())
    yield from filter(None, lines)


def _size(panel: models.Panel) -> tuple[int, int]:
    at = panel.grid_pos or models.GridPos()
    return at.w, at.h


def _place(line: list[models.Panel], top: int) -> int:
    """Put panels beside each other; return how high they are.

    What is left over of the width is shared out: no row has a hole at its end.
    """
    left, over = 0, COLUMNS - sum(_size(panel)[0] for panel in line)
    for index, panel in enumerate(line):
        width, height = _size(panel)
        width += over // len(line) + int(index < over % len(line))
        panel.grid_pos = models.GridPos(x=left, y=top, w=width, h=height)
        left += width
    return max(_size(panel)[1] for panel in line)


def _variables(content: Content) -> Iterator[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    yield _label("job", "Job", "label_values(probe_exporter_build, job)")
    yield _label("instance", "Instance", 'label_values(probe_exporter_build{job=~"$job"}, instance)')
    services = own("probe_service_instances")
    if content.kinds is not None:
        services = own("probe_interval_seconds", f'probe=~"{"|".join(sorted(content.kinds))}"')
    yield _label("service", "Service", f"label_values({services}, service)")
    if content.instances:
        targets = own("probe_interval_seconds", 'service=~"$service"')
        yield _label("target", "Target", f"label_values({targets}, target)")


def _label(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE).query(query).definition(query)
    variable.multi(multi=True).include_all(include_all=True).all_value(".+").current(ALL)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _alerts() -> dashboard.AnnotationQuery:
    query = prometheus.Dataquery().expr(ALERTS).ref_id("Anno")
    annotation = (
        dashboard.AnnotationQuery().name("Firing alerts").datasource(DATASOURCE).enable(enable=True).hide(hide=False)
    )
    annotation.icon_color("red").expr(ALERTS).target(query).step("30s")
    return annotation.title_format("{{alertname}}").text_format("{{service}} {{target}}").tag_keys("severity")


def _navigation(names: Names) -> Iterator[models.DashboardLink]:
    """Lead to the other dashboards, with the time and what is chosen, and to the runbook."""
    yield _in_sight(
        models.DashboardLink(
            "Dashboards", models.DashboardLinkType.DASHBOARDS,
            tags=[names.fleet], as_dropdown=True, include_vars=True, keep_time=True,
        )
    )  # fmt: skip
    yield _in_sight(models.DashboardLink("Runbook", icon="doc", url=names.runbook_url))


def _in_sight(link: models.DashboardLink) -> models.DashboardLink:
    """Have a link where it has always been; the SDK puts it into a menu that newer versions of Grafana have."""
    link.placement = None  # type: ignore[assignment] # what Grafana takes for the usual place
    return link


def _link(panel: models.Panel, content: Content, names: Names) -> None:
    """Let what names a service lead to it, and what names an instance of it to that, with the time that is looked at."""
    legends = " ".join(getattr(target, "legend_format", None) or "" for target in panel.targets or [])
    links = []
    if "{{service}}" in legends:
        title = "Only this service" if content.board is Board.SERVICE else "This service"
        links.append(_data_link(title, "service", panel, names))
    if "{{target}}" in legends and content.instances:
        links.append(_data_link("Only this target", "target", panel, names))
    if links and panel.field_config is not None:
        panel.field_config.defaults.links = links


def _data_link(title: str, label: str, panel: models.Panel, names: Names) -> models.DashboardLink:
    value = f"__data.fields.{label.capitalize()}" if panel.type_val == "table" else f"__field.labels.{label}"
    queried = ["${service:queryparam}"] if label == "target" else []
    chosen = "&".join((f"var-{label}=${{{value}}}", *queried, "${datasource:queryparam}", "${__url_time_range}"))
    url = f"/d/{Board.SERVICE.uid(names.fleet)}?{chosen}"
    return _in_sight(models.DashboardLink(title=title, url=url))
