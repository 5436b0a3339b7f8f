"""From verdicts and facts to likely causes and incidents: pure, over frozen snapshots."""
