"""The contracts, guarded: compatible with their baseline, and explained by documents that are generated from them."""
