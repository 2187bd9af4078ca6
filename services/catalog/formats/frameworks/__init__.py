"""Readers and writers of competency frameworks: CASE, ASN, and those that ship with the project."""
