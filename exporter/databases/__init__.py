"""What the postgres probe is made of: what is recorded of sessions, locks, servers, statements, migrations and pgbouncers."""
