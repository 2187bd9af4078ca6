"""The gateway: Envoy transcodes JSON over HTTP to the RPCs of every service, at the paths that the contracts name."""
