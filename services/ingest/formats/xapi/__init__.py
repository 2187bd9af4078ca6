"""Statements of the Experience API (xAPI), 1.0.3 and 2.0."""

from services.ingest.formats.xapi.profiles import load_profile
from services.ingest.formats.xapi.reader import rows_of

__all__ = ["load_profile", "rows_of"]
