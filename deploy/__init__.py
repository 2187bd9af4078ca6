"""Tools for developing and running Cairn: topics, the laptop stack, the contract checks, the evaluation."""
