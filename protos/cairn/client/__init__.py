"""For platforms: `LearnerUpdates` keeps a subscription open over reconnects. Needs grpcio and protobuf only."""

from cairn.client.learner_updates import CHANNEL_OPTIONS, Backoff, LearnerUpdates

__all__ = ["CHANNEL_OPTIONS", "Backoff", "LearnerUpdates"]
