"""The calls of the CatalogService."""
