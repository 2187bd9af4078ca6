"""Kafka: connections, the message envelope, compacted topics and topic declarations."""
