"""What the postgres probe is made of: what is recorded of sessions, of locks and of migrations."""
