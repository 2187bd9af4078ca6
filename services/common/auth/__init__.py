"""Tenants, credentials and pseudonyms."""
