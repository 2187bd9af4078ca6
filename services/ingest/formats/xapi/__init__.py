"""Statements of the Experience API (xAPI), 1.0.3 and 2.0."""

from services.ingest.formats.xapi.profiles import load_profile
from services.ingest.formats.xapi.reader import rows_of
from services.ingest.formats.xapi.voiding import CHANGE_MARKS, changes_in

__all__ = ["CHANGE_MARKS", "changes_in", "load_profile", "rows_of"]
