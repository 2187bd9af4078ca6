"""gRPC plumbing for servers and clients."""
