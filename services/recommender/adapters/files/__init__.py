"""Ports on files and object stores."""
