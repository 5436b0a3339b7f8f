"""Who of several exporters exports what: a leader by a Lease, or shards. It knows of the engine nothing, and of probing nothing."""
