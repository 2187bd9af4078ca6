"""Lists that are kept up to date."""
