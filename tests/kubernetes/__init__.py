"""The exporter on Kubernetes: a real control plane, driven through what a day brings."""
