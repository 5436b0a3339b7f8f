"""The client of Kubernetes' API, against servers that speak its protocol."""
