"""Payloads of public formats: what the readers make of them, compared with what the specifications say."""
