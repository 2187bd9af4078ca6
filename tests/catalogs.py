"""The catalog's use cases with any log and view."""

from __future__ import annotations

from datetime import UTC, datetime

from services.catalog.application.edit_catalog import EditCatalog
from services.catalog.application.import_catalog import ImportCatalog
from services.catalog.application.review_tags import ListTagReviews, ReviewTag
from services.catalog.application.suggest_tags import SuggestTags
from services.catalog.application.writing import CatalogWriter
from services.catalog.entrypoints.calls.shared import UseCases
from services.catalog.tagging.served import TaggerFolders

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def use_cases(log, view, taggers=None, now=lambda: NOW):
    """All use cases; without `taggers` no tenant has a tagger."""
    writer, taggers = CatalogWriter(log, view), taggers or TaggerFolders(None)
    edit = EditCatalog(writer, now)
    return UseCases(
        import_catalog=ImportCatalog(writer),
        edit=edit,
        suggest_tags=SuggestTags(view, taggers),
        list_tag_reviews=ListTagReviews(view, taggers),
        review_tag=ReviewTag(edit, taggers),
    )
