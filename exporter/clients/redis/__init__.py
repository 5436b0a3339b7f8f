"""Redis and Valkey: one connection that is asked, and what INFO says."""
