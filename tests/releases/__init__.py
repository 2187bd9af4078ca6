"""What earlier releases left behind in Kafka, Redis and files, for the test of upgrades."""
