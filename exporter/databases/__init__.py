"""What the postgres probe is made of: sessions, locks, servers, statements, migrations and pgbouncers, recorded."""
