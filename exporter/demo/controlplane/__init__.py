"""A Kubernetes control plane without containers: its programs, its processes, and a player of kubelets."""
