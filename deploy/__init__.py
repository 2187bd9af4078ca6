"""Running Cairn: topics, the laptop stack, containers."""
