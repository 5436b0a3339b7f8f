"""The house style of panels: each has an id, a title, a description, a unit and the dashboard's data source.

Ids are given, not counted: alerts link to panels by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

__all__ = ["DASHBOARD_UID", "DATASOURCE", "Panels", "Query", "Scale", "Size", "graph", "number", "states", "table"]

DASHBOARD_UID = "hafnium-fleet"
DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"

LIMIT = " limit"
"""How the legend of a query ends that draws a threshold."""

Panels = Sequence[timeseries.Panel | stat.Panel | statetimeline.Panel | tables.Panel]
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


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a value turns yellow and red. With `falling`, low values are the bad ones.

    Attributes:
        yellow: Bound of yellow, in the panel's unit.
        red: Bound of red, in the panel's unit.
        falling: Whether values below the bounds are bad.
    """

    yellow: float | None = None
    red: float | None = None
    falling: bool = False

    def build(self) -> dashboard.ThresholdsConfig:
        """Make Grafana's thresholds: a colour holds from its bound upwards."""
        if self.falling:
            bounds = [(None, RED), (self.red, YELLOW if self.yellow is not None else GREEN), (self.yellow, GREEN)]
        else:
            bounds = [(None, GREEN), (self.yellow, YELLOW), (self.red, RED)]
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
) -> timeseries.Panel:
    """Values over time. `scale` draws its bounds as lines, as do queries of limits; `top` fixes the axis' upper end."""
    panel = _dress(timeseries.Panel(), panel_id, title, description, unit, size)
    panel.min(0).fill_opacity(8).line_width(1).show_points(common_models.VisibilityMode.NEVER)
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
        panel.max(top)
    if any(query.legend.endswith(LIMIT) for query in queries):
        panel.override_by_regexp(f"/{LIMIT}$/", _line_of_a_limit())
    return _ask(panel, queries)


def _line_of_a_limit() -> list[models.DynamicConfigValue]:
    """Draw dashed and red, and leave it out of legend and tooltip: eight services with one limit are one line."""
    return [
        models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": RED}),
        models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        models.DynamicConfigValue("custom.fillOpacity", 0),
        models.DynamicConfigValue("custom.hideFrom", {"legend": True, "tooltip": True, "viz": False}),
    ]


def table(
    panel_id: int, title: str, description: str, unit: str, query: Query, *, columns: Sequence[str], size: Size = Size.WIDE
) -> tables.Panel:
    """What is so now: a row for each series, its labels as columns, then its value."""
    panel = _dress(tables.Panel(), panel_id, title, description, unit, size)
    panel.with_transformation(
        models.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: at for at, name in enumerate((*columns, "Value"))},
                "renameByName": {name: name.capitalize() for name in columns},
            },
        )
    )
    return _ask(panel, (query,))


def number(
    panel_id: int, title: str, description: str, unit: str, query: Query, *, scale: Scale | None = None
) -> stat.Panel:
    """One number, the latest."""
    panel = _dress(stat.Panel(), panel_id, title, description, unit, Size.TILE)
    panel.graph_mode(common_models.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
    if scale is None:
        panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(BLUE))
    else:
        panel.thresholds(scale.build())
    return _ask(panel, (query,))


def states(
    panel_id: int,
    title: str,
    description: str,
    query: Query,
    *,
    texts: tuple[str, str] = ("Down", "Up"),
    size: Size = Size.HALF,
) -> statetimeline.Panel:
    """States over time: 0 is bad, 1 is good, 2 is unknown. A gap means that nothing was measured."""
    panel = _dress(statetimeline.Panel(), panel_id, title, description, "short", size)
    named = ((texts[0], RED), (texts[1], GREEN), ("Unknown", YELLOW))
    options = {
        str(value): models.ValueMappingResult(text=text, color=color, index=value)
        for value, (text, color) in enumerate(named)
    }
    panel.mappings([models.ValueMap(options=options)])
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    panel.show_value(common_models.VisibilityMode.NEVER).merge_values(merge_values=True).row_height(0.85)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(show_legend=False)
    )
    return _ask(panel, (query,))


def _dress(panel: AnyPanel, panel_id: int, title: str, description: str, unit: str, size: Size) -> AnyPanel:
    width, height = size.value
    return (
        panel.id(panel_id).title(title).description(description).datasource(DATASOURCE).unit(unit).span(width).height(height)
    )


def _ask(panel: AnyPanel, queries: tuple[Query, ...]) -> AnyPanel:
    """Add the queries, and a link that drills down where they name a service."""
    for index, query in enumerate(queries):
        asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index))
        if isinstance(panel, tables.Panel):
            asked.format(prometheus_models.PromQueryFormat.TABLE)
        panel.with_target(asked.instant() if isinstance(panel, stat.Panel | tables.Panel) else asked.range())
    if any("{{service}}" in query.legend for query in queries):
        panel.data_links([_drill_down()])
    return panel


def _drill_down() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Only this service")
    link.type(models.DashboardLinkType.LINK).url(
        f"/d/{DASHBOARD_UID}?var-service=${{__field.labels.service}}&${{datasource:queryparam}}&${{__url_time_range}}"
    )
    return link
