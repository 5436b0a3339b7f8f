"""The house style of panels: each has an id, a title, a description, a unit and the dashboard's data source.

Ids are given, not counted: alerts link to panels by them. A panel that is on several dashboards has one id on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from exporter.dashboards.palette import BAD, GOOD, PLAIN, WARN

__all__ = [
    "DATASOURCE",
    "Columns",
    "Made",
    "Panels",
    "Query",
    "Scale",
    "Size",
    "alert_list",
    "chosen",
    "graph",
    "number",
    "states",
    "table",
]

DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

LIMIT = " limit"
"""How the legend of a query ends that draws a threshold."""


Model = TypeVar("Model")


class Made(Builder[Model]):
    """What is made already, where the SDK asks for a builder of it."""

    def __init__(self, made: Model) -> None:
        self._made = made

    def build(self) -> Model:
        """Return it as the SDK's builders do."""
        return self._made


Panels = Sequence[timeseries.Panel | stat.Panel | statetimeline.Panel | tables.Panel | Made[models.Panel]]
AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, statetimeline.Panel, tables.Panel)


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query and the name of its series, such as `{{service}}`."""

    expr: str
    legend: str


class Size(Enum):
    """Width and height on Grafana's grid of 24 columns."""

    TILE = (3, 4)
    THIRD = (8, 8)
    HALF = (12, 8)
    WIDE = (24, 9)
    LOW = (24, 5)


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a value is to be looked at, and where it is bad. With `falling`, low values are the bad ones.

    Attributes:
        warn: From where on it is to be looked at, in the panel's unit.
        bad: From where on it is bad, in the panel's unit.
        falling: Whether values below the bounds are bad.
        good: Whether what is within the bounds is good; else a limit that is not among them may say otherwise.
    """

    warn: float | None = None
    bad: float | None = None
    falling: bool = False
    good: bool = True

    def build(self) -> dashboard.ThresholdsConfig:
        """Make Grafana's thresholds: a colour holds from its bound upwards."""
        within = GOOD if self.good else PLAIN
        if self.falling:
            bounds = [(None, BAD), (self.bad, WARN if self.warn is not None else within), (self.warn, within)]
        else:
            bounds = [(None, within), (self.warn, WARN), (self.bad, BAD)]
        steps = [models.Threshold(value=at, color=color) for at, color in bounds if at is not None or color == bounds[0][1]]
        return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def graph(
    panel_id: int,
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    size: Size = Size.THIRD,
    scale: Scale | None = None,
    top: float | None = None,
    negative: bool = False,
) -> timeseries.Panel:
    """Values over time. `scale` draws its bounds as lines, as do queries of limits.

    The axis reaches up to `top` at least, and further where values do: one with an end would hide what is past it, such as
    more sessions than there may be. With `negative`, it reaches below zero in the same way.
    """
    panel = _dress(timeseries.Panel(), panel_id, title, description, unit, size)
    if negative:
        panel.axis_soft_min(0)
    else:
        panel.min(0)
    # With points, where Grafana finds room: without, a value between two gaps is no line, and is not drawn at all.
    panel.fill_opacity(8).line_width(1).show_points(common_models.VisibilityMode.AUTO)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    panel.tooltip(
        common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING)
    )
    if scale is not None:
        panel.thresholds(scale.build())
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    if top is not None:
        panel.axis_soft_max(top)
    if any(query.legend.endswith(LIMIT) for query in queries):
        panel.override_by_regexp(f"/{LIMIT}$/", _line_of_a_limit())
    return _ask(panel, queries)


def _line_of_a_limit() -> list[models.DynamicConfigValue]:
    """Draw dashed and red, and leave it out of legend and tooltip: eight services with one limit are one line."""
    return [
        models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": BAD}),
        models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        models.DynamicConfigValue("custom.fillOpacity", 0),
        models.DynamicConfigValue("custom.hideFrom", {"legend": True, "tooltip": True, "viz": False}),
    ]


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a table: labels, and then the value.

    Attributes:
        labels: Of the series, in this order.
        value: Heading of the value; empty where the labels say it all.
        scale: Where the value is bad; it is written in that colour.
        decimals: Of the value; None leaves it to Grafana.
        none: What is said where there is no row.
        state: The label whose values are words of `words`, if there is one.
        words: Words of that label, each with its colour.
    """

    labels: Sequence[str]
    value: str = "value"
    scale: Scale | None = None
    decimals: int | None = None
    none: str = "None"
    state: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def headings(self) -> dict[str, str]:
        """Headings by what Prometheus calls each, in order."""
        return {name: name.capitalize() for name in self.labels} | {"Value": self.value.capitalize() or "Value"}


def table(
    panel_id: int, title: str, description: str, unit: str, query: Query, *, columns: Columns, size: Size = Size.THIRD
) -> tables.Panel:
    """What is so now: a row for each series."""
    panel = _dress(tables.Panel(), panel_id, title, description, unit, size).no_value(columns.none)
    panel.with_transformation(
        models.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True, "Value": not columns.value},
                "indexByName": {name: at for at, name in enumerate(columns.headings)},
                "renameByName": columns.headings,
            },
        )
    )
    coloured = models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
    if columns.scale is not None:
        panel.thresholds(columns.scale.build())
        panel.override_by_name(columns.headings["Value"], [coloured])
    if columns.state:
        named = enumerate(columns.words.items())
        words = {word: models.ValueMappingResult(text=word, color=color, index=at) for at, (word, color) in named}
        panel.mappings([models.ValueMap(options=words)])
        panel.override_by_name(columns.headings[columns.state], [coloured])
    if columns.decimals is not None:
        panel.decimals(columns.decimals)
    return _ask(panel, (query,))


def number(
    panel_id: int,
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    scale: Scale | None = None,
    none: str = "",
) -> stat.Panel:
    """One number, the latest. Where there is none it is not known, or `none` says that there may be none."""
    panel = _dress(stat.Panel(), panel_id, title, description, unit, Size.TILE)
    panel.graph_mode(common_models.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    # Grafana gives what is missing the colour of the lowest bound, which is that of good.
    missing = models.ValueMappingResult(text=none or "Not known", color=PLAIN if none else WARN, index=0)
    nothing = models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NULL_AND_NAN, result=missing)
    panel.mappings([models.SpecialValueMap(options=nothing)])
    if scale is None:
        panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(PLAIN))
    else:
        panel.thresholds(scale.build())
    return _ask(panel, (query,))


def states(
    panel_id: int,
    title: str,
    description: str,
    *queries: Query,
    texts: tuple[str, str] = ("Down", "Up"),
    size: Size = Size.HALF,
) -> statetimeline.Panel:
    """States over time, by word and colour: 0 is bad, 1 is good, 2 is unknown. A gap means that nothing was measured."""
    panel = _dress(statetimeline.Panel(), panel_id, title, description, "short", size)
    named = ((texts[0], BAD), (texts[1], GOOD), ("Unknown", WARN))
    options = {
        str(value): models.ValueMappingResult(text=text, color=color, index=value)
        for value, (text, color) in enumerate(named)
    }
    panel.mappings([models.ValueMap(options=options)])
    # Not from thresholds: then Grafana merges values by its own, of which there are always some, before it maps them to
    # words, and up, down and unknown are one bar of "< 80" in green (grafana/grafana issues 40661, 71804).
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(PLAIN))
    panel.show_value(common_models.VisibilityMode.AUTO).merge_values(merge_values=True).row_height(0.85)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(show_legend=False)
    )
    return _ask(panel, queries)


def _dress(panel: AnyPanel, panel_id: int, title: str, description: str, unit: str, size: Size) -> AnyPanel:
    width, height = size.value
    return (
        panel.id(panel_id).title(title).description(description).datasource(DATASOURCE).unit(unit).span(width).height(height)
    )


def _ask(panel: AnyPanel, queries: tuple[Query, ...]) -> AnyPanel:
    """Add the queries."""
    for index, query in enumerate(queries):
        asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index))
        if isinstance(panel, tables.Panel):
            asked.format(prometheus_models.PromQueryFormat.TABLE)
        panel.with_target(asked.instant() if isinstance(panel, stat.Panel | tables.Panel) else asked.range())
    return panel


def alert_list(panel_id: int, title: str, description: str, *, size: Size, alone: bool = False) -> Made[models.Panel]:
    """Firing alerts of the chosen services, and of the exporter itself, as Grafana lists them, with since when.

    It is no query: series of alerts have neither `job` nor `instance`, by which every query here selects.

    Args:
        panel_id: Its id.
        title: Its title.
        description: What it shows.
        size: Its place.
        alone: Only a number, of the rules that fire: Grafana counts no alerts.
    """
    width, height = size.value
    options = {
        # Without a format, Grafana writes several that are chosen as {a,b} here, which matches none. Only rules of the
        # exporter's have an incident: whatever else fires in the same Grafana is not about the fleet.
        "alertInstanceLabelFilter": '{service=~"${service:regex}|", incident=~".+", alertname!="Watchdog"}',
        "alertName": "",
        "dashboardAlerts": False,
        "datasource": "",
        "groupBy": [],
        "groupMode": "default",
        "maxItems": 50,
        "showInactiveAlerts": False,
        "showInstances": not alone,  # what a rule fires for, and not only how often
        "sortOrder": 5,  # the latest first; what Grafana calls importance is the state, and all of these fire
        "statColorMode": "value",  # from here on for newer versions of Grafana, whose own limit is 80
        "statThresholds": {
            "mode": "absolute",
            "steps": [{"color": GOOD, "value": None}, {"color": BAD, "value": 1}],
        },
        "stateFilter": {"error": True, "firing": True, "noData": False, "normal": False, "pending": False},
        "viewMode": "stat" if alone else "list",
    }
    panel = models.Panel(
        type_val="alertlist",
        id_val=panel_id,
        title=title,
        description=description,
        datasource=DATASOURCE,
        grid_pos=models.GridPos(w=width, h=height),
        options=options,
    )
    return Made(panel)


def chosen(panels: Panels, *ids: int) -> Panels:
    """Take some panels of another dashboard, in this order.

    Raises:
        KeyError: There is none of that id.
    """
    by_id = {panel.build().id_val: panel for panel in panels}
    return tuple(by_id[each] for each in ids)
