"""Pictures of the dashboards where no Grafana runs: the same JSON, the same Prometheus, another hand.

A page lays the panels out as the JSON says, with what Prometheus answers to their queries, and draws lines with uPlot;
headless Chromium takes the picture. It shows layout, legends, units, states and what is empty, not what Grafana looks like.
"""
