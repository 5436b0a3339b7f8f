"""Drift between what a person reads and what fires: runbook, rules, routes, dashboards and metrics held together."""
