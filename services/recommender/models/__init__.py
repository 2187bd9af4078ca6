"""Models fitted with external libraries: fitting and inference."""
