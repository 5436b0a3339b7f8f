"""Which targets a service has: what covers it as a whole may have something to say where there is no instance."""

from __future__ import annotations

from exporter.config.models import ServiceSettings
from exporter.engine.targets import wanted_targets

PROBES: dict[str, dict[str, object]] = {"actuator": {}, "kubernetes": {}, "kafka": {}}


def test_without_an_instance_the_cluster_is_still_asked() -> None:
    settings = ServiceSettings.model_validate({"instances": ["h:1"], "probes": PROBES})
    wanted = list(wanted_targets("identity", settings, ()))
    assert [each.target.key for each in wanted] == [("identity", "kubernetes", "identity")]
    assert wanted[0].target.addresses == ()
