"""What deploy/ has of generated files: roles, the fleet's configuration in a cluster, rules and dashboards."""
