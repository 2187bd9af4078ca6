"""ADL's public conformance suite for learning record stores, run against Cairn."""
