"""gRPC infrastructure for servers and clients."""
