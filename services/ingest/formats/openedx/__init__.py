"""Open edX: tracking events, from tracking logs or from the event bus.

An answer counts once, at the finest grain: the server's `problem_check`, input by input where a problem has several.
What repeats it, or has no outcome, is left out and counted. docs/formats.md has the mapping.
"""

from services.ingest.formats.openedx.changes import CHANGE_MARKS, changes_in
from services.ingest.formats.openedx.tracking import rows_of

__all__ = ["CHANGE_MARKS", "changes_in", "rows_of"]
