"""Grafana dashboards, generated: what they show is code, and the committed JSON is held against it."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # The SDK warns of its classic dashboard model as soon as that is imported. The classic model is what file provisioning
    # takes in every Grafana still in use; the new one needs Grafana 12.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import dashboard, prometheus  # noqa: F401 - imported here for their warnings
