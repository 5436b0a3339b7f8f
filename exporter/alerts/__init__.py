"""Alerting rules, routes and what goes with them, from code: an alert is one entry of one of the files by subject."""
