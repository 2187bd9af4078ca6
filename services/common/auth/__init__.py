"""Tenants, API keys and pseudonyms."""
