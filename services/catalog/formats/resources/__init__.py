"""Resources in public formats: LRMI, Common Cartridge, and tables."""
