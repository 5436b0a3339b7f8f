"""Asking PostgreSQL: a session whose phases are timed, and Flyway's history."""
