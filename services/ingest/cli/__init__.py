"""The commands `cairn ingest ...`."""
