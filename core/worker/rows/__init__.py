"""Rows for the model: rendered with its chat template, truncated, counted in tokens."""
