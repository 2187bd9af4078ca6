"""Requests over HTTP: admitted like calls over gRPC, read within limits, and answered with JSON."""
