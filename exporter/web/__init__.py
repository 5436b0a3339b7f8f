"""The exporter's endpoints: exposition, operations, JSON API, and the pages for people."""
