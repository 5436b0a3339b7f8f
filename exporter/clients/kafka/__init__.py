"""Asking Kafka brokers: connections, login, what a cluster consists of, its groups and its offsets."""
