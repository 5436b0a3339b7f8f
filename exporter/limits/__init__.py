"""What is held against the thresholds of the configuration: one entry for rules, pages, API and `check` alike."""
