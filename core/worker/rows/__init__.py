"""Rows on their way into the model: rendered with its template, cut to a length, counted in tokens."""
