"""The Fleet dashboard, top down: verdicts, causes, what users feel, what runs short, dependencies, the exporter."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as models

from exporter.dashboards.dependencies import certificates, dependencies
from exporter.dashboards.kafka import kafka
from exporter.dashboards.overview import ALERTS, causes, verdicts
from exporter.dashboards.own import itself, probes
from exporter.dashboards.panels import DASHBOARD_UID, DATASOURCE
from exporter.dashboards.promql import own
from exporter.dashboards.services import requests, resources
from exporter.dashboards.workloads import workloads

__all__ = ["fleet"]

ALL = models.VariableOption(selected=True, text=["All"], value=["$__all"])


def fleet() -> dashboard.Dashboard:
    """Build the dashboard."""
    board = (
        dashboard.Dashboard("Hafnium fleet")
        .uid(DASHBOARD_UID)
        .description("Health of the services and of what they depend on, as the exporter probes them.")
        .tags(["hafnium", "generated"])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    for variable in _variables():
        board.with_variable(variable)
    board.annotation(_alerts())
    rows = (
        (100, "Fleet", verdicts()),
        (107, "Causes", causes()),
        (101, "Rate, errors, duration", requests()),
        (103, "Pools and memory", resources()),
        (104, "Dependencies", dependencies()),
        (109, "Kafka", kafka()),
        (108, "Kubernetes", workloads()),
        (105, "Certificates", certificates()),
        (102, "Probes", probes()),
        (106, "The exporter itself", itself()),
    )
    for row_id, title, panels in rows:
        board.with_row(dashboard.Row(title).id(row_id))
        for panel in panels:
            board.with_panel(panel)
    return board


def _variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    datasource = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return [
        datasource,
        _label("job", "Job", "label_values(probe_exporter_build, job)"),
        _label("instance", "Instance", 'label_values(probe_exporter_build{job=~"$job"}, instance)'),
        _label("service", "Service", f"label_values({own('probe_service_instances')}, service)"),
    ]


def _label(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE).query(query).definition(query)
    variable.multi(multi=True).include_all(include_all=True).all_value(".+").current(ALL)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _alerts() -> dashboard.AnnotationQuery:
    # An alert of the exporter itself has no service: the empty alternative keeps it.
    query = prometheus.Dataquery().expr(ALERTS).ref_id("Anno")
    annotation = (
        dashboard.AnnotationQuery().name("Firing alerts").datasource(DATASOURCE).enable(enable=True).hide(hide=False)
    )
    annotation.icon_color("red").expr(ALERTS).target(query).step("30s")
    return annotation.title_format("{{alertname}}").text_format("{{service}} {{target}}").tag_keys("severity")
