"""The embedded fleet: real servers, eight simulated services, and faults. Nothing of it runs in production."""
