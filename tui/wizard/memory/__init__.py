"""The memory panel in words and marks: bar, items with their reasons, verdict, and what helps where it does not fit."""
