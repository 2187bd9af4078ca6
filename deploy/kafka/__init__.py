"""Apache Kafka from its published artifacts, for the tests that need a real broker."""
