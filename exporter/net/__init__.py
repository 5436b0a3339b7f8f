"""Reaching servers: names, HTTP and TLS, with every step timed and every failure named."""
