"""Versions of the catalog, and results of imports, as messages."""

from __future__ import annotations

from cairn.v1 import catalog_pb2
from services.catalog.application.import_catalog import ImportOutcome
from services.catalog.application.ports import CatalogVersion


def version_to_proto(version: CatalogVersion) -> catalog_pb2.CatalogVersion:
    """The message of a version."""
    return catalog_pb2.CatalogVersion(
        resources_offset=version.resources_offset,
        skills_offset=version.skills_offset,
        rules_offset=version.rules_offset,
    )


def outcome_to_proto(outcome: ImportOutcome) -> catalog_pb2.ImportCatalogResponse:
    """The reply to an import."""
    return catalog_pb2.ImportCatalogResponse(
        skills_written=outcome.skills_written,
        skills_unchanged=outcome.skills_unchanged,
        resources_written=outcome.resources_written,
        resources_unchanged=outcome.resources_unchanged,
        version=version_to_proto(outcome.version),
    )
