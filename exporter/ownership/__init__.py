"""Who of several exporters exports what: a leader by a Lease, or shards. It knows nothing of probing."""
