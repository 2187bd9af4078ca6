"""Ports on Kafka."""
