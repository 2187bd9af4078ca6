"""Cairn for platforms: the contracts in `cairn.v1`, and a client for subscriptions in `cairn.client`."""
