"""Ingest's own types as Protobuf messages, log records and JSON lines."""
