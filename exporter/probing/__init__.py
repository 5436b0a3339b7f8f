"""What a probe is, what it is handed, and the one place where what happened becomes an outcome."""
