"""Kinds of rows that need a look of their own."""
