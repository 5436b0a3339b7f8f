"""Kubernetes' API: list and watch on raw JSON, and what is kept of its objects. It knows nothing of probing."""
