"""What the kubernetes probe is made of: what is of a service in a cluster, what is recorded of it, and how it is judged."""
