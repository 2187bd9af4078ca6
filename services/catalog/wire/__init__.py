"""The catalog's own types as the messages of `cairn/v1/catalog.proto`."""
