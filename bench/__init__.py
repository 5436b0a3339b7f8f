"""What the exporter costs, beside its peers in the same run: `make bench`."""
