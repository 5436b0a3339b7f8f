"""Asking Kafka brokers: connections, login, what a cluster consists of, its groups and its offsets."""

from exporter.clients.kafka.parts import import_parts_alone

import_parts_alone()
